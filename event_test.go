package backstay_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/backstay-go/backstay"
)

type observer func(call *backstay.Call, e backstay.Event)

func (o observer) Observe(call *backstay.Call, e backstay.Event) { o(call, e) }

func TestObserversAreToldOfAllAttempts(t *testing.T) {
	var got []string
	note := func(who string) observer {
		return func(call *backstay.Call, e backstay.Event) {
			got = append(got, fmt.Sprint(who, " ", e.Reason, " ", call.Attempt))
		}
	}
	_ = do(ok, around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		if call.Watched() {
			t.Error("Watched() = true before anybody does, want false")
		}
		call.Emit(backstay.Event{Reason: "unheard"})
		call.Watch(note("a"))
		f, _ := call.Fork()
		f.Watch(note("b"))
		f.Attempt = 2
		if !call.Watched() || !f.Watched() {
			t.Error("Watched() = false, want true in the call and its attempts")
		}
		call.Emit(backstay.Event{Reason: "one"})
		f.Emit(backstay.Event{Reason: "two"})
		call.Adopt(f)
		return nil
	}))
	want := []string{"a one 1", "b one 1", "a two 2", "b two 2"}
	if !slices.Equal(got, want) {
		t.Errorf("observers were told %q, want %q", got, want)
	}
	_ = do(ok, around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		if call.Watched() {
			t.Error("the next call is watched by the observers of the last")
		}
		return next(ctx, call)
	}))
}

func TestAnObserverThatPanicsIsContained(t *testing.T) {
	told := 0
	err := do(ok, around(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		call.Watch(observer(func(*backstay.Call, backstay.Event) { panic("observer") }))
		call.Watch(observer(func(*backstay.Call, backstay.Event) { told++ }))
		call.Emit(backstay.Event{})
		return next(ctx, call)
	}))
	if err != nil || told != 1 {
		t.Errorf("Do with an observer that panics = %v, and the next was told %d events; want nil and 1", err, told)
	}
}
