package idempotency

import "strings"

// Quote returns the key as the String of a structured field: RFC 9651, section
// 4.1.6. It fails with ErrBadKey for characters other than printable ASCII.
func Quote(key string) (string, error) {
	if err := printable(key); err != nil {
		return "", err
	}
	return quote(key), nil
}

// Unquote returns the key in the value of a structured field that is a String:
// RFC 9651, section 4.2.5. It fails with ErrBadKey for everything else, a
// String with parameters too, since the header defines none.
func Unquote(value string) (string, error) {
	in, ok := strings.CutPrefix(strings.Trim(value, " "), `"`)
	if !ok {
		return "", bad("it is not in quotes")
	}
	var key strings.Builder
	for i := 0; i < len(in); i++ {
		c := in[i]
		switch {
		case c == '"':
			if i+1 < len(in) {
				return "", bad("there is something after the closing quote")
			}
			return key.String(), nil
		case c == '\\':
			i++
			if i == len(in) || in[i] != '"' && in[i] != '\\' {
				return "", bad(`a backslash is not followed by " or \`)
			}
			c = in[i]
		case !isPrintable(c):
			return "", bad("byte %d is not printable ASCII", i+1)
		}
		key.WriteByte(c)
	}
	return "", bad("there is no closing quote")
}

var escape = strings.NewReplacer(`"`, `\"`, `\`, `\\`)

// quote returns a printable key in quotes.
func quote(key string) string { return `"` + escape.Replace(key) + `"` }

// printable reports the first byte that is not printable ASCII, by its place.
func printable(key string) error {
	for i := range len(key) {
		if !isPrintable(key[i]) {
			return bad("byte %d is not printable ASCII", i+1)
		}
	}
	return nil
}

func isPrintable(c byte) bool { return ' ' <= c && c <= '~' }
