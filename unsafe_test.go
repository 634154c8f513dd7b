package backstay_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/retry"
)

// A policy for what must not be done twice, made of one for what may.
func ExampleUnsafe() {
	policy := backstay.New(retry.New(retry.Config{Backoff: retry.NoPause()}))
	insert := backstay.Wrap(backstay.New(backstay.Unsafe(), policy), "orders.Insert", func(ctx context.Context, order string) (int, error) {
		fmt.Println("inserting", order)
		return 0, fmt.Errorf("connection lost")
	})
	_, err := insert(context.Background(), "order 42")
	fmt.Println(err)
	// Output:
	// inserting order 42
	// connection lost
}

func TestUnsafeCallsAreMadeAgainIfNotSent(t *testing.T) {
	policy := backstay.New(backstay.Unsafe(), retry.New(retry.Config{Backoff: retry.NoPause()}))
	for err, want := range map[error]int{
		errBoom: 1,
		&backstay.Error{Err: errBoom, Class: backstay.Transient, NotSent: true}: 3,
	} {
		made := 0
		_, _ = backstay.Do(context.Background(), policy, "op", func(context.Context) (int, error) {
			made++
			return 0, err
		})
		if made != want {
			t.Errorf("an unsafe call that failed with %#v was made %d times, want %d", err, made, want)
		}
	}
}

func TestUnsafeIsRefusedUnderRetry(t *testing.T) {
	err := backstay.Check(retry.New(retry.Config{}), backstay.Unsafe())
	want := "backstay: unsafe is under retry(3), which would give every attempt one of its own; move it above"
	if err == nil || err.Error() != want {
		t.Errorf("Check(retry, unsafe) = %v, want %s", err, want)
	}
}
