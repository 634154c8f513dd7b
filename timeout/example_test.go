package timeout_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

func Example() {
	policy := backstay.New(
		timeout.Call(2*time.Second),
		retry.New(retry.Config{MaxAttempts: 3}),
		timeout.Attempt(500*time.Millisecond),
	)
	attempts := 0
	answer, err := backstay.Do(context.Background(), policy, "ask", func(ctx context.Context) (string, error) {
		if attempts++; attempts == 1 {
			<-ctx.Done() // the first replica hangs
			return "", ctx.Err()
		}
		return "an answer", nil
	})
	fmt.Println(answer, err, "after", attempts, "attempts")
	// Output: an answer <nil> after 2 attempts
}

func ExampleError() {
	policy := backstay.New(timeout.Call(10 * time.Millisecond))
	_, err := backstay.Do(context.Background(), policy, "ask", func(ctx context.Context) (string, error) {
		<-ctx.Done()
		return "", ctx.Err()
	})
	fmt.Println(err)
	fmt.Println(errors.Is(err, context.DeadlineExceeded))
	// Output:
	// timeout: call took longer than 10ms
	// true
}
