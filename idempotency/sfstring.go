package idempotency

import (
	"strings"

	"github.com/backstay-go/backstay/internal/httpreq"
)

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
	key, fault := httpreq.Unquote(value)
	if fault != "" {
		return "", bad("%s", fault)
	}
	return key, nil
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
