package retry_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

// A greeter fails a few times before it greets.
type greeter struct{ failures, calls int }

func (g *greeter) Greet(ctx context.Context, name string) (string, error) {
	if g.calls++; g.calls <= g.failures {
		return "", errors.New("connection reset")
	}
	return "hello, " + name, nil
}

func Example() {
	greeter := &greeter{failures: 2}

	policy := backstay.New(
		timeout.Call(2*time.Second),
		retry.New(retry.Config{}),
	)
	greet := backstay.Wrap(policy, "greeter.Greet", greeter.Greet)
	text, err := greet(context.Background(), "gopher")

	fmt.Println(text, err)
	fmt.Println(greeter.calls, "attempts")
	// Output:
	// hello, gopher <nil>
	// 3 attempts
}

// The kinds of backoff. The zero Backoff is the first.
func ExampleBackoff() {
	for _, b := range []retry.Backoff{
		retry.Exponential(50*time.Millisecond, time.Second),
		retry.Exponential(50*time.Millisecond, time.Second).Floor(10 * time.Millisecond),
		retry.Equal(50*time.Millisecond, time.Second),
		retry.Decorrelated(50*time.Millisecond, time.Second),
		retry.Plain(50*time.Millisecond, time.Second),
		retry.Constant(50 * time.Millisecond),
		retry.NoPause(),
	} {
		fmt.Println(b)
	}
	// Output:
	// exponential(50ms, 1s)
	// exponential(50ms, 1s).Floor(10ms)
	// equal(50ms, 1s)
	// decorrelated(50ms, 1s)
	// plain(50ms, 1s)
	// constant(50ms)
	// none
}

// Any backoff.BackOff gives the pauses.
func ExampleCustom() {
	gentle := retry.Custom(func() retry.Intervals {
		return backoff.WithMaxRetries(backoff.NewExponentialBackOff(
			backoff.WithInitialInterval(time.Millisecond),
			backoff.WithMultiplier(1.5),
		), 3)
	})
	greeter := &greeter{failures: 2}
	policy := backstay.New(retry.New(retry.Config{MaxAttempts: 4, Backoff: gentle}))
	fmt.Println(backstay.Wrap(policy, "greeter.Greet", greeter.Greet)(context.Background(), "gopher"))
	// Output: hello, gopher <nil>
}

// Two policies that call the same target share its budget, so that together
// they send it no more than 1.2 times the calls.
func ExampleBudget() {
	orders := retry.NewBudget(retry.BudgetConfig{PerSecond: -1}) // a retry for every 5 calls
	reads := backstay.New(retry.New(retry.Config{Budget: orders, MaxAttempts: 5}))
	writes := backstay.New(retry.New(retry.Config{Budget: orders, MaxAttempts: 2}))

	down := &greeter{failures: 1000}
	for range 50 {
		backstay.Wrap(reads, "orders.Get", down.Greet)(context.Background(), "")
		backstay.Wrap(writes, "orders.Put", down.Greet)(context.Background(), "")
	}
	fmt.Println(down.calls, "attempts of 100 calls")
	// Output: 120 attempts of 100 calls
}

// A failure that no other attempt will change is marked where it is found.
func ExamplePermanent() {
	attempts := 0
	find := func(ctx context.Context, name string) (string, error) {
		attempts++
		return "", retry.Permanent(errors.New("no such user"))
	}
	policy := backstay.New(retry.New(retry.Config{}))
	_, err := backstay.Wrap(policy, "users.Find", find)(context.Background(), "nobody")
	fmt.Printf("%v after %d attempt\n", err, attempts)
	// Output: no such user after 1 attempt
}

var errLocked = errors.New("row is locked")

// If says for which failures a callee is called again.
func ExampleConfig_if() {
	policy := backstay.New(retry.New(retry.Config{
		If: func(err error) bool { return errors.Is(err, errLocked) },
	}))
	attempts := 0
	_, err := backstay.Do(context.Background(), policy, "rows.Update", func(ctx context.Context) (int, error) {
		if attempts++; attempts == 1 {
			return 0, errLocked
		}
		return 0, errors.New("disk is full")
	})
	fmt.Println(err.(*retry.Error).Err, "after", attempts, "attempts")
	// Output: disk is full after 2 attempts
}
