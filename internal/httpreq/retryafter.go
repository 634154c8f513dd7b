package httpreq

import (
	"math"
	"net/http"
	"strings"
	"time"
)

// RetryAfter returns the delay that the value of a Retry-After header asks
// for, and whether it asks for one: RFC 9110, section 10.2.3. A number is whole
// seconds. A date counts from the response's own Date where that can be read,
// so that the two clocks need not agree, and otherwise from now. What is no
// delay in the future is none, and a number too large for a Duration is the
// longest there is.
func RetryAfter(value, date string, now time.Time) (time.Duration, bool) {
	value = strings.Trim(value, " \t")
	if value == "" {
		return 0, false
	}
	if strings.Trim(value, "0123456789") == "" {
		d := seconds(value)
		return d, d > 0
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	if sent, err := http.ParseTime(strings.Trim(date, " \t")); err == nil {
		now = sent
	}
	d := at.Sub(now)
	return max(d, 0), d > 0
}

// seconds returns the duration that the decimal digits say.
func seconds(digits string) time.Duration {
	const most = math.MaxInt64 / int64(time.Second)
	var n int64
	for _, c := range digits {
		n = n*10 + int64(c-'0')
		if n > most {
			return math.MaxInt64
		}
	}
	return time.Duration(n) * time.Second
}
