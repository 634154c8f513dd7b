package retry_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"testing/synctest"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/retry"
)

// layer is a function with a retry of its own around it.
func layer(cfg retry.Config, inner func(context.Context) error) func(context.Context) error {
	p := backstay.New(retry.New(cfg))
	return func(ctx context.Context) error {
		_, err := backstay.Do(ctx, p, "layer", func(ctx context.Context) (struct{}, error) {
			return struct{}{}, inner(ctx)
		})
		return err
	}
}

func wrapped(f func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := f(ctx); err != nil {
			return fmt.Errorf("layer: %w", err)
		}
		return nil
	}
}

// swallowing hides what kind of error f returned.
func swallowing(f func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := f(ctx); err != nil {
			return errors.New(err.Error())
		}
		return nil
	}
}

//
func TestLayersDoNotMultiply(t *testing.T) {
	for _, n := range []int{2, 3, 5} {
		for _, k := range []int{2, 3, 4} {
			for _, row := range []struct {
				name    string
				between func(func(context.Context) error) func(context.Context) error
				nested  bool
				want    int
			}{
				{"that wrap", wrapped, false, n},
				{"that hide their errors", swallowing, false, k*(n-1) + 1},
				{"with Nested", wrapped, true, int(math.Pow(float64(n), float64(k)))},
			} {
				synctest.Test(t, func(t *testing.T) {
					attempts := 0
					f := func(context.Context) error { attempts++; return errSick }
					cfg := every(ms)
					cfg.MaxAttempts, cfg.Nested = n, row.nested
					for range k {
						f = row.between(layer(cfg, f))
					}
					f(t.Context())
					if attempts != row.want {
						t.Errorf("%d attempts in %d layers %s made %d, want %d", n, k, row.name, attempts, row.want)
					}
				})
			}
		}
	}
}

// of two layers either can have the attempts.
func TestInnerThatDoesNotRetryLeavesItToTheOuter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts := 0
		inner := every(ms)
		inner.If = func(error) bool { return false }
		f := layer(every(ms), layer(inner, func(context.Context) error { attempts++; return errSick }))
		f(t.Context())
		if attempts != 3 {
			t.Errorf("an inner retry that does not retry made %d attempts, want the outer one's 3", attempts)
		}
	})
}

// an inner call that succeeded is made again for each attempt of the
// outer, and is not retried there.
func TestInnerSuccessesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts := 0
		inner := layer(every(ms), func(context.Context) error {
			if attempts++; attempts < 3 {
				return errSick
			}
			return nil
		})
		f := layer(every(ms), func(ctx context.Context) error {
			if err := inner(ctx); err != nil {
				return err
			}
			return errSick
		})
		f(t.Context())
		if attempts != 3+2 {
			t.Errorf("the inner function was called %d times, want 3 in the first attempt and 1 in each of the other two", attempts)
		}
	})
}

func TestNestedEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCallee(func() error { return &retry.Error{Attempts: 3, Err: errSick} })
		r := c.watch()
		c.bind(retry.New(every(ms)))(t.Context())
		if got := r.end(t); got != "nested" || c.attempts() != 1 {
			t.Errorf("Do(tried 3 times inside) ended for %q after %d attempts, want nested after 1", got, c.attempts())
		}
	})
}
