package httpcall_test

import (
	"math"
	"math/big"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay/httpcall"
	"github.com/backstay-go/backstay/loadbalance"
	"github.com/backstay-go/backstay/retry"
)

// RFC 9110, section 10.2.3.
//
// H-34, H-35, H-36, H-38
func TestParseRetryAfter(t *testing.T) {
	const (
		none    = time.Duration(0)
		longest = time.Duration(math.MaxInt64)
		sent    = "Sun, 06 Nov 1994 08:49:37 GMT"
	)
	now := time.Date(1994, time.November, 6, 8, 49, 7, 0, time.UTC) // 30 s behind the server's clock
	for _, row := range []struct {
		value, date string
		want        time.Duration
	}{
		{"120", "", 120 * time.Second},
		{"1", sent, time.Second},
		{" 7\t", "", 7 * time.Second},
		{"007", "", 7 * time.Second},
		{"0", "", none},
		{"000", "", none},
		{"", "", none},
		{" ", "", none},

		{"+5", "", none},
		{"-5", "", none},
		{"1.5", "", none},
		{"1e3", "", none},
		{"0x10", "", none},
		{"1_000", "", none},
		{"5 s", "", none},
		{"1 2", "", none},
		{"5, 6", "", none},
		{"٥", "", none},
		{"soon", "", none},

		{"9223372036", "", 9223372036 * time.Second},
		{"9223372037", "", longest},
		{"18446744073709551615", "", longest},
		{"18446744073709551617", "", longest}, // 1, if only 64 bits are looked at
		{strings.Repeat("9", 1000), "", longest},

		{"Sun, 06 Nov 1994 08:50:37 GMT", sent, time.Minute},
		{"Sunday, 06-Nov-94 08:50:37 GMT", sent, time.Minute},
		{"Sun Nov  6 08:50:37 1994", sent, time.Minute},
		{"Sun, 06 Nov 1994 08:50:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", time.Minute},
		{"Sun, 06 Nov 1994 08:50:37 GMT", " " + sent + " ", time.Minute},
		{"Sun, 06 Nov 1994 08:50:37 GMT", "", 90 * time.Second},
		{"Sun, 06 Nov 1994 08:50:37 GMT", "yesterday", 90 * time.Second},
		{"Sun, 06 Nov 1994 08:49:37 GMT", sent, none},
		{"Sun, 06 Nov 1994 08:49:36 GMT", sent, none},
		{"Sun, 06 Nov 1994 08:49:36 GMT", "", 29 * time.Second},
		{"Mon, 01 Jan 0001 00:00:00 GMT", sent, none},
		{"Fri, 31 Dec 9999 23:59:59 GMT", sent, longest},
		{"Sun, 06 Nov 1994 08:50:37", sent, none},
		{"1994-11-06T08:50:37Z", sent, none},
	} {
		d, ok := httpcall.ParseRetryAfter(row.value, row.date, now)
		if d != row.want || ok != (row.want > 0) {
			t.Errorf("ParseRetryAfter(%.40q, %q) = %v, %v, want %v, %v", row.value, row.date, d, ok, row.want, row.want > 0)
		}
	}
}

// H-34, H-35
func FuzzRetryAfter(f *testing.F) {
	for _, value := range []string{"120", " 0 ", "-1", "1e9", "9223372037", "18446744073709551617", "Sun, 06 Nov 1994 08:49:37 GMT"} {
		f.Add(value, "Sun, 06 Nov 1994 08:49:07 GMT", int64(784111777))
	}
	most := big.NewInt(math.MaxInt64 / int64(time.Second))
	f.Fuzz(func(t *testing.T, value, date string, now int64) {
		d, ok := httpcall.ParseRetryAfter(value, date, time.Unix(now, 0))
		if d < 0 || ok != (d > 0) {
			t.Fatalf("ParseRetryAfter(%q, %q) = %v, %v, want a delay above 0 or none", value, date, d, ok)
		}
		digits := strings.Trim(value, " \t")
		if digits == "" || strings.Trim(digits, "0123456789") != "" {
			return
		}
		n, _ := new(big.Int).SetString(digits, 10)
		want := time.Duration(math.MaxInt64)
		if n.Cmp(most) <= 0 {
			want = time.Duration(n.Int64()) * time.Second
		}
		if d != want {
			t.Fatalf("ParseRetryAfter(%q, %q) = %v, want %v", value, date, d, want)
		}
	})
}

// asking answers n requests with status and a Retry-After, the others with 200.
// A value of the form "+30s" is a date so far from the server's.
func asking(n, status int, value string) http.HandlerFunc {
	return failThen(0, 0, func(w http.ResponseWriter, r *http.Request) {
		if n--; n < 0 {
			ok(w, r)
			return
		}
		if after, isDate := strings.CutPrefix(value, "+"); isDate {
			d, _ := time.ParseDuration(after)
			server := time.Now().Add(-time.Hour) // its clock is wrong
			w.Header().Set("Date", server.UTC().Format(http.TimeFormat))
			w.Header().Set("Retry-After", server.Add(d).UTC().Format(http.TimeFormat))
		} else {
			w.Header().Set("Retry-After", value)
		}
		w.WriteHeader(status)
	})
}

// Each row is tried often, as the pauses have jitter.
//
// H-34, H-35, H-36, H-37, H-38
func TestRetryAfterDelaysTheRetry(t *testing.T) {
	const backoff = 5 * time.Second
	huge := strconv.FormatUint(math.MaxUint64, 10)
	for _, row := range []struct {
		status         int
		value          string
		cfg            httpcall.Config
		atLeast, below time.Duration // below 0: not retried
	}{
		{503, "10", httpcall.Config{}, 10 * time.Second, 11 * time.Second},
		{429, "10", httpcall.Config{}, 10 * time.Second, 11 * time.Second},
		{503, "+10s", httpcall.Config{}, 10 * time.Second, 11 * time.Second},
		{429, "30", httpcall.Config{}, 30 * time.Second, 33 * time.Second},

		{503, "2", httpcall.Config{}, backoff, backoff + time.Second}, // ours is longer
		{503, "0", httpcall.Config{}, backoff, backoff + 1},
		{503, "-10", httpcall.Config{}, backoff, backoff + 1},
		{503, "10.5", httpcall.Config{}, backoff, backoff + 1},
		{503, "1e3", httpcall.Config{}, backoff, backoff + 1},
		{503, "+-10s", httpcall.Config{}, backoff, backoff + 1},
		{500, "10", httpcall.Config{}, backoff, backoff + 1},
		{502, "99", httpcall.Config{}, backoff, backoff + 1},

		{429, "31", httpcall.Config{}, 0, 0},
		{503, "31", httpcall.Config{}, 0, 0},
		{503, "+31s", httpcall.Config{}, 0, 0},
		{503, "9223372036", httpcall.Config{}, 0, 0},
		{503, "9223372037", httpcall.Config{}, 0, 0},
		{503, huge, httpcall.Config{}, 0, 0},

		{413, "10", httpcall.Config{}, 0, 0},
		{413, "10", httpcall.Config{RetryAfterOn: []int{413}}, 10 * time.Second, 11 * time.Second},
		{500, "10", httpcall.Config{RetryAfterOn: []int{500}}, 10 * time.Second, 11 * time.Second},
		{503, "10", httpcall.Config{RetryAfterOn: []int{413}}, backoff, backoff + 1},
	} {
		t.Run(strconv.Itoa(row.status)+" "+row.value, func(t *testing.T) {
			for range 20 {
				synctest.Test(t, func(t *testing.T) {
					m := newMemory(t, asking(1, row.status, row.value), orders)
					rt := m.transport(t, row.cfg, retry.New(retry.Config{Backoff: retry.Constant(backoff)}))
					start := time.Now()
					status, _, err := fetch(t.Context(), rt)
					took := time.Since(start)
					switch retried := status == 200; {
					case err != nil:
						t.Fatal(err)
					case retried != (row.below > 0):
						t.Fatalf("%d with Retry-After %s ended in %d, retried: %v, want %v", row.status, row.value, status, retried, row.below > 0)
					case !retried && took != 0:
						t.Fatalf("%d with Retry-After %s was returned after %v, want at once", row.status, row.value, took)
					case retried && (took < row.atLeast || took >= row.below):
						t.Fatalf("%d with Retry-After %s was retried after %v, want at least %v and less than %v", row.status, row.value, took, row.atLeast, row.below)
					}
				})
			}
		})
	}
}

// H-37
func TestMaxRetryAfterMayBeAnything(t *testing.T) {
	const century = 100 * 365 * 24 * time.Hour
	for _, row := range []struct {
		most    time.Duration
		value   string
		retried bool
		atLeast time.Duration
	}{
		{time.Hour, "3600", true, time.Hour},
		{time.Hour, "3601", false, 0},
		{math.MaxInt64, "86400", true, 24 * time.Hour},
		{math.MaxInt64, "9223372037", true, century}, // with jitter it would be negative
	} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemory(t, asking(1, 503, row.value), orders)
			rt := m.transport(t, httpcall.Config{}, retry.New(retry.Config{MaxRetryAfter: row.most}))
			start := time.Now()
			status, _, err := fetch(t.Context(), rt)
			took := time.Since(start)
			if retried := status == 200; err != nil || retried != row.retried || took < row.atLeast {
				t.Errorf("Retry-After %s under MaxRetryAfter %v = %d, %v after %v, want retried: %v, after at least %v", row.value, row.most, status, err, took, row.retried, row.atLeast)
			}
		})
	}
}

// H-38
func TestRetryAfterOf429HoldsEverywhereThatOf503AtItsEndpoint(t *testing.T) {
	for _, row := range []struct {
		status int
		want   time.Duration
	}{
		{429, 10 * time.Second},
		{503, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemory(t, asking(1, row.status, "10"), "a:80", "b:80")
			rt := m.transport(t, httpcall.Config{},
				retry.New(retry.Config{Backoff: retry.Constant(time.Second)}), loadbalance.New(loadbalance.RoundRobin(), "a:80", "b:80"))
			start := time.Now()
			status, _, err := fetch(t.Context(), rt)
			took := time.Since(start)
			if status != 200 || err != nil || took < row.want || took > row.want+row.want/10 {
				t.Errorf("a %d with Retry-After 10 was retried at another endpoint after %v (%d, %v), want %v", row.status, took, status, err, row.want)
			}
		})
	}
}

// Once every endpoint has been tried, the 503's Retry-After holds for the one
// that the call returns to.
//
// H-38
func TestRetryAfterOf503HoldsWhenAllEndpointsWereTried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t, asking(2, 503, "10"), "a:80", "b:80")
		rt := m.transport(t, httpcall.Config{},
			retry.New(retry.Config{Backoff: retry.Constant(time.Second)}), loadbalance.New(loadbalance.RoundRobin(), "a:80", "b:80"))
		start := time.Now()
		status, _, err := fetch(t.Context(), rt)
		if took := time.Since(start); status != 200 || err != nil || took < 10*time.Second {
			t.Errorf("the third attempt came after %v (%d, %v), want at least 10s", took, status, err)
		}
	})
}
