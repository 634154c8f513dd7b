package retry_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/backstay-go/backstay/retry"
)

// each pause is within its bounds, and on average in their middle.
func TestPausesKeepTheirBounds(t *testing.T) {
	const first, limit = 50 * ms, s
	doubled := func(i int) time.Duration { return min(first<<i, limit) }
	for _, row := range []struct {
		name      string
		backoff   retry.Backoff
		low, high func(i int) time.Duration
	}{
		{name: "zero", low: zero, high: doubled},
		{name: "exponential", backoff: retry.Exponential(first, limit), low: zero, high: doubled},
		{name: "equal", backoff: retry.Equal(first, limit), low: func(i int) time.Duration { return doubled(i) / 2 }, high: doubled},
		{name: "plain", backoff: retry.Plain(first, limit), low: doubled, high: doubled},
		{name: "constant", backoff: retry.Constant(first), low: is50, high: is50},
		{name: "none", backoff: retry.NoPause(), low: zero, high: zero},
	} {
		const samples, n = 2000, 7
		var sum [n]float64
		for range samples {
			next := retry.Draw(row.backoff)
			for i := range n {
				d, low, high := next(), row.low(i), row.high(i)
				if d < low || d > high || d == high && low < high {
					t.Fatalf("%s: pause %d = %v, want it from %v to below %v", row.name, i, d, low, high)
				}
				sum[i] += float64(d)
			}
		}
		for i := range n {
			low, high := float64(row.low(i)), float64(row.high(i))
			// The mean of 2000 even draws is off by 0.0065 of the range, so 6
			// times as much will not be seen in a lifetime.
			if mean := sum[i] / samples; math.Abs(mean-(low+high)/2) > .04*(high-low)+1 {
				t.Errorf("%s: pause %d is %v on average, want %v", row.name, i, time.Duration(mean), time.Duration((low+high)/2))
			}
		}
	}
}

func zero(int) time.Duration { return 0 }
func is50(int) time.Duration { return 50 * ms }

// a draw is even, quarter by quarter.
func TestPausesAreDrawnEvenly(t *testing.T) {
	const samples = 4000
	var quarters [4]int
	for range samples {
		quarters[retry.Draw(retry.Exponential(s, s))()/(250*ms)]++
	}
	for q, n := range quarters { // 1000, with a deviation of 27
		if n < 830 || n > 1170 {
			t.Errorf("%d of %d pauses were in quarter %d, want a quarter of them", n, samples, q)
		}
	}
}

//
func TestDecorrelatedPauses(t *testing.T) {
	const first, limit = 50 * ms, s
	atLimit, sum := 0, 0.0
	for range 1000 {
		next := retry.Draw(retry.Decorrelated(first, limit))
		previous := first
		for i := range 8 {
			d := next()
			if i == 0 {
				sum += float64(d)
			}
			if d < first || d > limit || d >= 3*previous {
				t.Fatalf("pause %d = %v after %v, want it from %v to 3 times the previous and at most %v", i, d, previous, first, limit)
			}
			if d == limit {
				atLimit++
			}
			previous = d
		}
	}
	if mean := time.Duration(sum / 1000); mean < 95*ms || mean > 105*ms {
		t.Errorf("the first pause is %v on average, want 100ms", mean)
	}
	if atLimit == 0 {
		t.Errorf("no pause of 8000 reached the limit, want the draws above it to")
	}
	if got := pauses(t, retry.Decorrelated(s, s), 3); got[0] != s || got[2] != s {
		t.Errorf("pauses from 1s to 1s = %v, want 1s", got)
	}
}

//
func TestFloor(t *testing.T) {
	low := s
	for range 500 {
		next := retry.Draw(retry.Exponential(50*ms, 200*ms).Floor(20 * ms))
		for range 5 {
			d := next()
			if d < 20*ms || d >= 200*ms {
				t.Fatalf("pause with a floor of 20ms = %v, want it from that to below 200ms", d)
			}
			low = min(low, d)
		}
	}
	if low != 20*ms {
		t.Errorf("the shortest pause was %v, want the floor of 20ms", low)
	}
	if got := fmt.Sprint(retry.Backoff{}.Floor(ms)); got != "exponential(50ms, 1s).Floor(1ms)" {
		t.Errorf("String() = %q, want the default with its floor", got)
	}
}

func TestBackoffString(t *testing.T) {
	for want, b := range map[string]retry.Backoff{
		"exponential(50ms, 1s)":  {},
		"exponential(1ms, 2s)":   retry.Exponential(ms, 2*s),
		"equal(1ms, 2s)":         retry.Equal(ms, 2*s),
		"plain(1ms, 2s)":         retry.Plain(ms, 2*s),
		"decorrelated(1ms, 2s)":  retry.Decorrelated(ms, 2*s),
		"constant(1ms)":          retry.Constant(ms),
		"constant(1s).Floor(1s)": retry.Constant(s).Floor(s),
		"none":                   retry.NoPause(),
		"custom":                 retry.Custom(func() retry.Intervals { return &gaps{} }),
	} {
		if got := b.String(); got != want {
			t.Errorf("String() = %q, want %q", got, want)
		}
	}
}

// nonsense is refused when the policy is built.
func TestBackoffsRefuseNonsense(t *testing.T) {
	for name, f := range map[string]func(){
		"Exponential(0, 1s)":              func() { retry.Exponential(0, s) },
		"Exponential(-1s, 1s)":            func() { retry.Exponential(-s, s) },
		"Exponential(2s, 1s)":             func() { retry.Exponential(2*s, s) },
		"Exponential(1s, MaxInt64)":       func() { retry.Exponential(s, math.MaxInt64) },
		"Equal(2s, 1s)":                   func() { retry.Equal(2*s, s) },
		"Plain(0, 0)":                     func() { retry.Plain(0, 0) },
		"Decorrelated(2s, 1s)":            func() { retry.Decorrelated(2*s, s) },
		"Constant(-1)":                    func() { retry.Constant(-1) },
		"Floor(-1)":                       func() { retry.Backoff{}.Floor(-1) },
		"Exponential(1ms, 1s).Floor(2s)":  func() { retry.Exponential(ms, s).Floor(2 * s) },
		"Custom(nil)":                     func() { retry.Custom(nil) },
		"Custom of a func that gives nil": func() { retry.Custom(func() retry.Intervals { return nil }) },
	} {
		panics(t, name, f)
	}
}

// The longest pauses there are neither overflow nor end the retries.
func TestLongestPauses(t *testing.T) {
	const limit = time.Duration(math.MaxInt64 / 4)
	// A bubble's clock cannot run for as long, so the pauses are drawn here and
	// not waited for.
	for _, b := range []retry.Backoff{
		retry.Exponential(limit/4, limit), retry.Equal(limit, limit), retry.Plain(limit/3, limit), retry.Decorrelated(limit/2, limit),
	} {
		next := retry.Draw(b)
		for range 100 {
			if d := next(); d < 0 || d > limit {
				t.Errorf("%v paused for %v, want it from 0 to its limit", b, d)
			}
		}
	}
}
