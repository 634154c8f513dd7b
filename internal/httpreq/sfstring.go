package httpreq

import (
	"fmt"
	"strings"
)

// Unquote returns what the String of a structured field says, RFC 9651, section
// 4.2.5, or what is wrong with the value.
func Unquote(value string) (text, fault string) {
	in, ok := strings.CutPrefix(strings.Trim(value, " "), `"`)
	if !ok {
		return "", "it is not in quotes"
	}
	var key strings.Builder
	key.Grow(len(in))
	for i := 0; i < len(in); i++ {
		c := in[i]
		switch {
		case c == '"':
			if i+1 < len(in) {
				return "", "there is something after the closing quote"
			}
			return key.String(), ""
		case c == '\\':
			i++
			if i == len(in) || in[i] != '"' && in[i] != '\\' {
				return "", `a backslash is not followed by " or \`
			}
			c = in[i]
		case c < ' ' || c > '~':
			return "", fmt.Sprintf("byte %d is not printable ASCII", i+1)
		}
		key.WriteByte(c)
	}
	return "", "there is no closing quote"
}
