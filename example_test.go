package backstay_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

// orders is a client that fails now and then.
type orders struct{ calls int }

func (o *orders) GetOrder(ctx context.Context, id int) (string, error) {
	if o.calls++; o.calls == 1 {
		return "", errors.New("connection reset")
	}
	return fmt.Sprintf("order %d", id), nil
}

func Example() {
	client := &orders{}
	policy := backstay.New(
		timeout.Call(2*time.Second),
		retry.New(retry.Config{MaxAttempts: 3}),
		breaker.New(breaker.Config{Name: "orders"}),
		timeout.Attempt(500*time.Millisecond),
	)
	getOrder := backstay.Wrap(policy, "orders.Get", client.GetOrder)

	order, err := getOrder(context.Background(), 42)
	fmt.Println(order, err)
	fmt.Println(policy)
	// Output:
	// order 42 <nil>
	// timeout(2s) > retry(3) > breaker(orders) > attempt(500ms)
}

func ExampleDo() {
	policy := backstay.New(timeout.Call(time.Second))
	n, err := backstay.Do(context.Background(), policy, "answer", func(ctx context.Context) (int, error) {
		return 42, nil
	})
	fmt.Println(n, err)
	// Output: 42 <nil>
}

func ExampleWrap() {
	policy := backstay.New(timeout.Call(time.Second))
	greet := backstay.Wrap(policy, "greet", func(ctx context.Context, name string) (string, error) {
		return "hello, " + name, nil
	})
	fmt.Println(greet(context.Background(), "Ann"))
	// Output: hello, Ann <nil>
}

// An Op tells a policy what a function cannot: here, that storing twice is
// harmful and that a reply may hold a failure.
func ExampleBind() {
	type reply struct{ code int }
	store := backstay.Bind(backstay.New(retry.New(retry.Config{})), backstay.Op[string, reply]{
		Name:    "store",
		Prepare: func(call *backstay.Call, _ string) { call.Unsafe = true },
		Do: func(ctx context.Context, call *backstay.Call, text string) (reply, error) {
			fmt.Println("storing", text)
			return reply{503}, nil
		},
		Check: func(r reply) error {
			if r.code >= 500 {
				return fmt.Errorf("code %d", r.code)
			}
			return nil
		},
	})
	fmt.Println(store(context.Background(), "a page"))
	// Output:
	// storing a page
	// {503} <nil>
}

// logFailures is a middleware that writes down what fails.
func logFailures(next backstay.Func) backstay.Func {
	return func(ctx context.Context, call *backstay.Call) error {
		err := next(ctx, call)
		if err != nil {
			log.Printf("%s, attempt %d: %v", call.Op, call.Attempt, err)
		}
		return err
	}
}

func ExampleMiddlewareFunc() {
	log.SetFlags(0)
	log.SetOutput(os.Stdout)
	defer log.SetOutput(os.Stderr)

	policy := backstay.New(retry.New(retry.Config{Backoff: retry.NoPause()}), backstay.MiddlewareFunc(logFailures))
	order, err := backstay.Wrap(policy, "orders.Get", new(orders).GetOrder)(context.Background(), 42)
	fmt.Println(order, err)
	// Output:
	// orders.Get, attempt 1: connection reset
	// order 42 <nil>
}

// orZero is a middleware that answers 0 in place of a failure.
func orZero(next backstay.Func) backstay.Func {
	return func(ctx context.Context, call *backstay.Call) error {
		err := next(ctx, call)
		if err != nil && backstay.SetResult(call, 0) {
			return nil
		}
		return err
	}
}

func ExampleSetResult() {
	count := func(context.Context) (int, error) { return 0, errors.New("connection reset") }
	fmt.Println(backstay.Do(context.Background(), backstay.New(backstay.MiddlewareFunc(orZero)), "orders.Count", count))
	// Output: 0 <nil>
}

// onceMore is a middleware that makes a second attempt where that is harmless.
func onceMore(next backstay.Func) backstay.Func {
	return func(ctx context.Context, call *backstay.Call) error {
		first, err := call.Fork()
		if err != nil {
			return err
		}
		err = attempt(ctx, first, next)
		if err == nil || !first.Repeatable(err) {
			call.Adopt(first)
			return err
		}
		second, forkErr := call.Fork()
		if forkErr != nil { // say, a body that cannot be read again
			call.Adopt(first)
			return err
		}
		first.Discard(err)
		second.Attempt = 2
		err = attempt(ctx, second, next)
		call.Adopt(second) // a failure too: its response is the caller's
		return err
	}
}

// attempt runs f, and ends it if it panics.
func attempt(ctx context.Context, f *backstay.Call, next backstay.Func) error {
	returned := false
	defer func() {
		if !returned {
			f.Discard(backstay.ErrPanicked)
		}
	}()
	err := next(ctx, f)
	returned = true
	return err
}

func ExampleCall_Fork() {
	policy := backstay.New(backstay.MiddlewareFunc(onceMore))
	order, err := backstay.Wrap(policy, "orders.Get", new(orders).GetOrder)(context.Background(), 42)
	fmt.Println(order, err)
	// Output: order 42 <nil>
}

func ExampleCheck() {
	err := backstay.Check(
		retry.New(retry.Config{MaxAttempts: 3}),
		timeout.Call(2*time.Second),
	)
	fmt.Println(err)
	// Output: backstay: timeout(2s) is under retry(3), which would give every attempt one of its own; move it above
}
