package loadbalance_test

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/loadbalance"
)

// The interleaving: all four attempts of a call look for an endpoint before any
// has marked one, and choose the same.
//
// H-45
func TestAttemptsThatChooseTheSameEndpointChooseAgain(t *testing.T) {
	names := []string{"a", "b", "c", "d"}
	var looked sync.WaitGroup
	looked.Add(len(names))
	var once sync.Map
	b := balance(loadbalance.Custom("first", func(_ context.Context, call *backstay.Call, among []*loadbalance.Node) *loadbalance.Node {
		if _, again := once.LoadOrStore(call, true); !again {
			looked.Done()
			looked.Wait()
		}
		return among[0]
	}), loadbalance.HealthConfig{}, names...)

	var mu sync.Mutex
	var tried []string
	four := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
		return func(ctx context.Context, call *backstay.Call) error {
			var all sync.WaitGroup
			for range names {
				f, err := call.Fork()
				if err != nil {
					return err
				}
				all.Go(func() {
					err := next(ctx, f)
					mu.Lock()
					defer mu.Unlock()
					tried = append(tried, f.Endpoint)
					f.Discard(err)
				})
			}
			all.Wait()
			return nil
		}
	})
	_, err := backstay.Do(t.Context(), backstay.New(four, b), "get", func(context.Context) (int, error) { return 0, nil })
	if slices.Sort(tried); err != nil || !slices.Equal(tried, names) {
		t.Errorf("4 attempts that chose alike went to %v (%v), want %v", tried, err, names)
	}
}
