package idempotency

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/backstay-go/backstay/internal/httpreq"
)

// A Format is how a target wants the key of an HTTP request. The zero value is
// Standard. For calls that are not HTTP only MaxLength counts.
type Format struct {
	// Header is the name of the header. "" means Idempotency-Key.
	Header string

	// Unquoted sends the key as it is. Otherwise it is sent in the quotes of a
	// structured-field String.
	Unquoted bool

	// MaxLength is how many characters a key may have, without quotes. 0 means
	// 1024, the length that every reader of structured fields must accept: RFC
	// 9651, section 3.3.3.
	MaxLength int
}

// The formats of targets, each with its source. One that is not here is a
// literal, as in Format{Header: "X-Idempotency-Key", Unquoted: true}.
var (
	// Standard is the format of draft-ietf-httpapi-idempotency-key-header-07.
	Standard = Format{}

	// Stripe is from https://docs.stripe.com/api/idempotent_requests.
	Stripe = Format{Unquoted: true, MaxLength: 255}

	// Adyen is from https://docs.adyen.com/development-resources/api-idempotency.
	Adyen = Format{Unquoted: true, MaxLength: 64}

	// PayPal is from https://developer.paypal.com/api/rest/reference/idempotency,
	// and the length from https://developer.paypal.com/api/orders/v2/orders-create.
	PayPal = Format{Header: "PayPal-Request-Id", Unquoted: true, MaxLength: 108}
)

// Validate reports what is wrong with the format.
func (f Format) Validate() error {
	switch {
	case !isToken(f.Header):
		return fmt.Errorf("idempotency: %q cannot be a header; give a name such as Idempotency-Key", f.Header)
	case f.MaxLength < 0:
		return fmt.Errorf("idempotency: MaxLength is %d; give the length of the longest key, or 0 for 1024", f.MaxLength)
	}
	return nil
}

// isToken reports whether s can name a header or is empty: RFC 9110, section
// 5.6.2.
func isToken(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyz"
	return strings.Trim(strings.ToLower(s), letters+"0123456789!#$%&'*+-.^_`|~") == ""
}

func (f Format) defaults() Format {
	if f.Header == "" {
		f.Header = "Idempotency-Key"
	}
	if f.MaxLength == 0 {
		f.MaxLength = 1024
	}
	f.Header = http.CanonicalHeaderKey(f.Header)
	return f
}

// check reports why the key cannot be sent in this format.
func (f Format) check(key string) error {
	switch {
	case key == "":
		return bad("it is empty")
	case len(key) > f.MaxLength:
		return bad("it has %d characters, and the target's %s takes %d", len(key), f.Header, f.MaxLength)
	case f.Unquoted && strings.Trim(key, " ") != key:
		// The space around a header's value is not part of it.
		return bad("it begins or ends with a space, and the target's %s has no quotes to keep it", f.Header)
	}
	return printable(key)
}

// write puts a key that check has passed into the header of req.
func (f Format) write(req *http.Request, key string) {
	if !f.Unquoted {
		key = quote(key)
	}
	if req.Header == nil {
		req.Header = http.Header{}
	}
	req.Header[f.Header] = []string{key}
}

// read returns the key in the header of a request, and whether it has that
// header at all. fault says what is wrong and how to mend it, and does not hold
// the key.
func (f Format) read(h http.Header) (key string, sent bool, fault string) {
	values := h[f.Header]
	key, fault = httpreq.ReadKey(values, f.Header, !f.Unquoted, f.MaxLength)
	return key, len(values) > 0, fault
}
