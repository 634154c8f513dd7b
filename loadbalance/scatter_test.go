package loadbalance_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/loadbalance"
	"github.com/backstay-go/backstay/timeout"
)

// words splits a text into its words.
func words(text string) ([]string, error) { return strings.Fields(text), nil }

// join merges the answers, or the errors where there are any.
func join(parts []loadbalance.Shard[string, string]) (string, error) {
	var all []string
	for _, p := range parts {
		all = append(all, p.Req+"="+p.Resp)
	}
	return strings.Join(all, " "), loadbalance.JoinErrors(parts)
}

// The later a part is in the order, the sooner it is answered.
//
// L-17
func TestScatterMakesTheCallsAtTheSameTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := atomic.Int64{}
		left.Store(5)
		call := func(_ context.Context, word string) (string, error) {
			<-time.After(time.Duration(left.Add(-1)+1) * time.Second)
			return strings.ToUpper(word), nil
		}
		began := time.Now()
		got, err := loadbalance.Scatter(call, words, join)(t.Context(), "a b c d e")
		if want := "a=A b=B c=C d=D e=E"; got != want || err != nil {
			t.Errorf("Scatter(a b c d e) = %q, %v, want %q", got, err, want)
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("5 calls of 1s to 5s took %v, want 5s", took)
		}
	})
}

// L-17
func TestScatterHasOneDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		call := func(ctx context.Context, word string) (string, error) {
			if word != "slow" {
				return "ok", nil
			}
			<-ctx.Done()
			return "", ctx.Err()
		}
		get := backstay.Wrap(backstay.New(timeout.Call(2*time.Second)), "get", loadbalance.Scatter(call, words, func(parts []loadbalance.Shard[string, string]) (string, error) {
			got, _ := join(parts) // what came is enough
			return got, nil
		}))
		began := time.Now()
		got, err := get(t.Context(), "a slow b slow")
		if took := time.Since(began); took != 2*time.Second || got != "a=ok slow= b=ok slow=" && err == nil {
			t.Errorf("Scatter = %q, %v after %v, want what came after 2s", got, err, took)
		}
	})
}

// L-17
func TestScatterGivesMergeWhatFailed(t *testing.T) {
	errX, errY := errors.New("x"), errors.New("y")
	call := func(_ context.Context, word string) (string, error) {
		return "ok", map[string]error{"x": errX, "y": errY}[word]
	}
	_, err := loadbalance.Scatter(call, words, join)(t.Context(), "a x b y")
	if !errors.Is(err, errX) || !errors.Is(err, errY) || err.Error() != "x\ny" {
		t.Errorf("Scatter(a x b y) = %v, want both errors, joined in the order of the parts", err)
	}
	if _, err := loadbalance.Scatter(call, words, join)(t.Context(), "a b"); err != nil {
		t.Errorf("Scatter(a b) = %v, want nil", err)
	}
}

func TestScatterOfNothing(t *testing.T) {
	call := func(context.Context, string) (string, error) { return "", errDown }
	got, err := loadbalance.Scatter(call, words, func(parts []loadbalance.Shard[string, string]) (string, error) {
		return fmt.Sprint(len(parts), " parts"), loadbalance.JoinErrors(parts)
	})(t.Context(), "")
	if got != "0 parts" || err != nil {
		t.Errorf("Scatter() = %q, %v, want merge to be asked with 0 parts", got, err)
	}
	if got, err := loadbalance.Scatter(call, func(string) ([]string, error) { return []string{"a"}, errNo }, join)(t.Context(), ""); got != "" || err != error(errNo) {
		t.Errorf("Scatter() = %q, %v, want the error of split", got, err)
	}
}

// L-17
func TestPanicInAPartIsTheCallers(t *testing.T) {
	leak.Check(t)
	synctest.Test(t, func(t *testing.T) {
		type trouble struct{ word string }
		var others atomic.Int64
		call := func(_ context.Context, word string) (string, error) {
			switch word {
			case "panic":
				panic(trouble{word})
			case "exit":
				runtime.Goexit()
			}
			<-time.After(time.Second)
			others.Add(1)
			return "", nil
		}
		merged := false
		scatter := loadbalance.Scatter(call, words, func([]loadbalance.Shard[string, string]) (string, error) { merged = true; return "", nil })
		for _, row := range []struct {
			text string
			want any
		}{{"a panic b", trouble{"panic"}}, {"exit panic a exit b", trouble{"panic"}}, {"exit a b", nil}} {
			others.Store(0)
			var recovered any
			returned := false
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				defer func() { recovered = recover() }()
				_, _ = scatter(t.Context(), row.text)
				returned = true
			}()
			<-ended
			if recovered != row.want || returned || merged {
				t.Errorf("Scatter(%s) panicked with %v, returned: %v, merged: %v, want only the panic %v", row.text, recovered, returned, merged, row.want)
			}
			if n := others.Load(); n != 2 {
				t.Errorf("Scatter(%s) waited for %d of its other calls, want 2", row.text, n)
			}
		}
	})
}

func TestScatterNeedsItsFunctions(t *testing.T) {
	call := func(context.Context, string) (string, error) { return "", nil }
	const want = "loadbalance: Scatter needs a function that makes a call, one that splits a request and one that merges the answers"
	panicsWith(t, want, func() { loadbalance.Scatter(nil, words, join) })
	panicsWith(t, want, func() { loadbalance.Scatter(call, nil, join) })
	panicsWith(t, want, func() { loadbalance.Scatter(call, words, nil) })
}

// A request for many keys becomes one for each partition.
//
// L-17
func TestScatterOverPartitions(t *testing.T) {
	s := must(loadbalance.RangeSchema(from("", "low", "a"), from("n", "high", "b")))
	p := loadbalance.NewPartitions(func(_ context.Context, call *backstay.Call) string {
		keys, _ := backstay.Peek[[]string](call)
		return keys[0]
	}, s, loadbalance.RoundRobin())
	type answers map[string]string
	get := backstay.Bind(backstay.New(loadbalance.New(p.Strategy(), "a", "b")), backstay.Op[[]string, answers]{
		Do: func(_ context.Context, call *backstay.Call, keys []string) (answers, error) {
			all := answers{}
			for _, k := range keys {
				all[k] = call.Endpoint
			}
			return all, nil
		},
	})
	getAll := loadbalance.Scatter(get, func(keys []string) (parts [][]string, err error) {
		groups := p.Schema().Group(keys...)
		for _, name := range []string{"low", "high"} {
			if keys := groups[name]; len(keys) > 0 {
				parts = append(parts, keys)
			}
		}
		return parts, nil
	}, func(parts []loadbalance.Shard[[]string, answers]) (answers, error) {
		all := answers{}
		for _, p := range parts {
			for k, v := range p.Resp {
				all[k] = v
			}
		}
		return all, loadbalance.JoinErrors(parts)
	})
	got, err := getAll(t.Context(), []string{"x", "a", "z", "c"})
	if want := (answers{"a": "a", "c": "a", "x": "b", "z": "b"}); fmt.Sprint(got) != fmt.Sprint(want) || err != nil {
		t.Errorf("getAll(x a z c) = %v, %v, want %v", got, err, want)
	}
}
