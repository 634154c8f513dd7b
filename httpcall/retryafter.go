package httpcall

import (
	"time"

	"github.com/backstay-go/backstay/internal/httpreq"
)

// ParseRetryAfter returns the delay that the value of a Retry-After header asks
// for, and whether it asks for one: RFC 9110, section 10.2.3. A number is whole
// seconds. A date counts from the response's own Date where that can be read,
// so that the two clocks need not agree, and otherwise from now. What is no
// delay in the future is none, and a number too large for a Duration is the
// longest there is.
func ParseRetryAfter(value, date string, now time.Time) (time.Duration, bool) {
	return httpreq.RetryAfter(value, date, now)
}
