package httpreq

import (
	"fmt"
	"strings"
)

// ReadKey returns the idempotency key that a server finds in the values of the
// header of that name, in the quotes of a structured-field String or not, of at
// most so many characters. fault says what is wrong and how to mend it, and does
// not hold the key.
func ReadKey(values []string, name string, quoted bool, most int) (key, fault string) {
	switch len(values) {
	case 0:
		return "", fmt.Sprintf("there is no %s; send a new one with each request, and the same with each further attempt at it", name)
	case 1:
	default:
		return "", fmt.Sprintf("there are %d lines of %s; send one", len(values), name)
	}
	key = strings.Trim(values[0], " \t")
	if quoted && key != "" {
		if key, fault = Unquote(key); fault != "" {
			return "", fmt.Sprintf("the %s cannot be read: %s; send it in double quotes and nothing after them", name, fault)
		}
	}
	if key == "" {
		return "", fmt.Sprintf("the %s is empty; send a new one with each request", name)
	}
	if len(key) > most {
		return "", fmt.Sprintf("the %s has %d characters; send at most %d", name, len(key), most)
	}
	if i := strings.IndexFunc(key, func(c rune) bool { return c < ' ' || c > '~' }); i >= 0 {
		return "", fmt.Sprintf("byte %d of the %s is not printable ASCII; send one that is, such as a UUID", i+1, name)
	}
	return key, ""
}
