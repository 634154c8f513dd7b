package retry_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/backstay-go/backstay/retry"
)

// grown returns a backoff of cenkalti's, changed, and fresh each time.
func grown(change func(*backoff.ExponentialBackOff)) func() retry.Intervals {
	return func() retry.Intervals {
		e := backoff.NewExponentialBackOff()
		change(e)
		e.Reset()
		return e
	}
}

// its jitter comes after its limit.
func TestCenkaltiExceedsItsLimit(t *testing.T) {
	fresh := grown(func(e *backoff.ExponentialBackOff) { e.InitialInterval, e.MaxInterval = s, s })
	bare, own := time.Duration(0), time.Duration(0)
	for range 200 {
		bare = max(bare, fresh().NextBackOff())
		own = max(own, pauses(t, retry.Custom(fresh), 1)[0])
	}
	if bare <= 1400*ms {
		t.Errorf("the longest pause of backoff was %v, want the trap: 1.499s with a limit of 1s", bare)
	}
	if own != s {
		t.Errorf("the longest pause was %v, want the limit of 1s", own)
	}
}

//
func TestCenkaltiIgnoresItsLimitAtFirst(t *testing.T) {
	fresh := grown(func(e *backoff.ExponentialBackOff) {
		e.InitialInterval, e.MaxInterval, e.RandomizationFactor = time.Minute, s, 0
	})
	if d := fresh().NextBackOff(); d != time.Minute {
		t.Errorf("the first pause of backoff was %v, want the trap: a minute with a limit of 1s", d)
	}
	panics(t, "Custom(InitialInterval above MaxInterval)", func() { retry.Custom(fresh) })
}

//
func TestCenkaltiSpinsWithoutStop(t *testing.T) {
	literal := func() *backoff.ExponentialBackOff {
		return &backoff.ExponentialBackOff{
			InitialInterval: 50 * ms, MaxInterval: s, Multiplier: 2,
			MaxElapsedTime: 100 * ms, Clock: backoff.SystemClock,
		}
	}
	synctest.Test(t, func(t *testing.T) {
		e := literal()
		e.Reset()
		<-time.After(s)
		for range 1000 {
			if d := e.NextBackOff(); d != 0 {
				t.Fatalf("a pause of backoff was %v, want the trap: 0 for ever", d)
			}
		}
	})
	panics(t, "Custom(no Stop)", func() { retry.Custom(func() retry.Intervals { return literal() }) })
}

// a literal that nobody has reset.
func TestCenkaltiSpinsWithoutReset(t *testing.T) {
	literal := func() *backoff.ExponentialBackOff {
		return &backoff.ExponentialBackOff{InitialInterval: 50 * ms, MaxInterval: s, Multiplier: 2, Clock: backoff.SystemClock}
	}
	e := literal()
	if first, second := e.NextBackOff(), e.NextBackOff(); first != 0 || second != 0 {
		t.Errorf("a literal of backoff pauses for %v and %v, want the trap: 0 for ever", first, second)
	}
	got := pauses(t, retry.Custom(func() retry.Intervals { return literal() }), 2)
	if got[0] != 50*ms || got[1] != 100*ms {
		t.Errorf("pauses of a literal = %v, want 50ms and 100ms", got)
	}
}

//
func TestCenkaltiCollapses(t *testing.T) {
	for name, change := range map[string]func(*backoff.ExponentialBackOff){
		"Multiplier 0":          func(e *backoff.ExponentialBackOff) { e.Multiplier = 0 },
		"Multiplier .5":         func(e *backoff.ExponentialBackOff) { e.Multiplier = .5 },
		"Multiplier NaN":        func(e *backoff.ExponentialBackOff) { e.Multiplier = math.NaN() },
		"InitialInterval 0":     func(e *backoff.ExponentialBackOff) { e.InitialInterval = 0 },
		"RandomizationFactor 2": func(e *backoff.ExponentialBackOff) { e.RandomizationFactor = 2 },
		"RandomizationFactor -1": func(e *backoff.ExponentialBackOff) {
			e.RandomizationFactor = -1
		},
		"MaxInterval near MaxInt64": func(e *backoff.ExponentialBackOff) { e.MaxInterval = math.MaxInt64 },
	} {
		panics(t, "Custom("+name+")", func() { retry.Custom(grown(change)) })
	}
	panics(t, "Custom(no Clock)", func() {
		retry.Custom(func() retry.Intervals { return &backoff.ExponentialBackOff{} })
	})
	panics(t, "Custom(nil ExponentialBackOff)", func() {
		retry.Custom(func() retry.Intervals { return (*backoff.ExponentialBackOff)(nil) })
	})

	zeroed := grown(func(e *backoff.ExponentialBackOff) { e.Multiplier = 0 })()
	zeroed.NextBackOff()
	if d := zeroed.NextBackOff(); d != 0 {
		t.Errorf("the second pause of backoff was %v, want the trap: 0", d)
	}
	huge := grown(func(e *backoff.ExponentialBackOff) { e.InitialInterval, e.MaxInterval = math.MaxInt64, math.MaxInt64 })()
	overflows := false
	for range 100 {
		overflows = overflows || huge.NextBackOff() < 0
	}
	if !overflows {
		t.Errorf("no pause of backoff near MaxInt64 was negative, want the trap")
	}
}

// 15 minutes after which it gives up, with the time of the calls counted.
func TestCenkaltiEndsAfterFifteenMinutes(t *testing.T) {
	slow := func() error { <-time.After(16 * time.Minute); return errSick }
	synctest.Test(t, func(t *testing.T) {
		attempts := 0
		backoff.Retry(func() error { attempts++; return slow() }, backoff.NewExponentialBackOff())
		if attempts != 1 {
			t.Errorf("backoff.Retry made %d attempts of 16 minutes, want the trap: 1", attempts)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		c := newCallee(slow)
		c.bind(retry.New(retry.Config{}))(t.Context())
		if c.attempts() != 3 {
			t.Errorf("Do made %d attempts of 16 minutes, want 3", c.attempts())
		}
	})
}

// its loop sleeps up to the deadline in vain, and then returns that in
// place of the failure.
func TestCenkaltiSleepsPastDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 100*ms)
		defer cancel()
		err := backoff.Retry(sick, backoff.WithContext(backoff.NewConstantBackOff(s), ctx))
		if time.Since(began) != 100*ms || errors.Is(err, errSick) {
			t.Errorf("backoff.Retry = %v after %v, want the trap: 100ms for nothing, and the failure lost", err, time.Since(began))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*ms)
		defer cancel()
		c := newCallee(sick)
		cfg := retry.Config{Backoff: retry.Custom(func() retry.Intervals { return backoff.NewConstantBackOff(s) })}
		if err := c.bind(retry.New(cfg))(ctx); err != errSick || time.Since(c.began) != 0 {
			t.Errorf("Do = %v after %v, want the failure itself at once", err, time.Since(c.began))
		}
	})
}

// a BackOff is not safe for concurrent use, so each call gets its own.
func TestCustomIsFreshForEachCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		made := 0
		c := newCallee(sick)
		call := c.bind(retry.New(retry.Config{NoBudget: true, Backoff: retry.Custom(func() retry.Intervals {
			made++
			return grown(func(e *backoff.ExponentialBackOff) { e.RandomizationFactor = 0 })()
		})}))
		call(t.Context())
		call(t.Context())
		if made != 1+2 {
			t.Errorf("the Intervals were made %d times, want once to look at and once for each of 2 calls", made)
		}
		wantTimes(t, c, 0, 500*ms, 1250*ms, 1250*ms, 1750*ms, 2500*ms)
	})
}
