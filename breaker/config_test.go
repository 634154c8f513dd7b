package breaker_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/backstay-go/backstay/breaker"
)

func TestValidateRefusesWhatCannotWork(t *testing.T) {
	for _, row := range []struct {
		cfg  breaker.Config
		want string // in the error; none if empty
	}{
		{breaker.Config{}, ""},
		{breaker.Config{FailureRate: 1, SlowAfter: s, SlowRate: 1, MinCalls: 1, Probes: 1}, ""},
		{breaker.Config{FailureRate: breaker.Never, ConsecutiveFailures: 5}, ""},
		{breaker.Config{Last: 10}, ""},
		{breaker.Config{FailureRate: 50}, "FailureRate is 50"},
		{breaker.Config{FailureRate: -0.5}, "FailureRate is -0.5"},
		{breaker.Config{FailureRate: math.NaN()}, "FailureRate is NaN"},
		{breaker.Config{SlowAfter: s, SlowRate: 2}, "SlowRate is 2"},
		{breaker.Config{SlowRate: 0.5}, "needs SlowAfter"},
		{breaker.Config{Window: -1}, "Window is negative"},
		{breaker.Config{MaxProbe: -1}, "MaxProbe is negative"},
		{breaker.Config{Probes: -1}, "Probes is negative"},
		{breaker.Config{Probes: math.MaxInt}, "a few are enough"},
		{breaker.Config{Last: 10, Window: s}, "one of them"},
		{breaker.Config{Last: 10, MinCalls: 11}, "never reached"},
		{breaker.Config{Last: 1 << 30}, "at most"},
		{breaker.Config{Cooldown: time.Minute, MaxCooldown: s}, "swap them"},
		{breaker.Config{MaxCooldown: s}, "below the Cooldown of 5s"},
		{breaker.Config{FailureRate: breaker.Never}, "nothing opens it"},
	} {
		err := row.cfg.Validate()
		if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("Validate(%+v) = %v, want %q", row.cfg, err, row.want)
		}
		panicked := apart(func() { breaker.New(row.cfg) })
		if (panicked != nil) != (err != nil) {
			t.Errorf("New(%+v) panicked with %v, want what Validate says, %v", row.cfg, panicked, err)
		}
	}
}

func TestZeroConfigOpensAtHalfOfTwentyCalls(t *testing.T) {
	run(t, breaker.Config{}, []step{
		{0, times(10, ok), Closed}, {1 * s, times(9, fail), Closed}, {2 * s, fail, Open},
		{6999 * ms, rejected, Open}, {8300 * ms, times(2, ok), HalfOpen}, {9 * s, ok, Closed},
	})
}
