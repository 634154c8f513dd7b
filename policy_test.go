package backstay_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/backstay-go/backstay"
)

// named is a middleware that notes its name when it is entered.
type named struct {
	name  string
	notes *[]string
	wraps *int
}

func (n named) String() string { return n.name }

func (n named) Wrap(next backstay.Func) backstay.Func {
	if n.wraps != nil {
		*n.wraps++
	}
	return func(ctx context.Context, call *backstay.Call) error {
		*n.notes = append(*n.notes, n.name)
		return next(ctx, call)
	}
}

func TestTheFirstMiddlewareIsTheOutermost(t *testing.T) {
	var got []string
	mw := func(name string) backstay.Middleware { return named{name: name, notes: &got} }
	var none *backstay.Policy
	policy := backstay.New(mw("a"), backstay.New(mw("b"), backstay.New(mw("c"))), none, &backstay.Policy{}, backstay.New(), mw("d"))
	if err := do(ok, policy); err != nil || strings.Join(got, "") != "abcd" {
		t.Errorf("entered %v (%v), want a, b, c, d", got, err)
	}
	if s := policy.String(); s != "a > b > c > d" {
		t.Errorf("String() = %q, want a > b > c > d", s)
	}
}

// Wrap runs once a policy, not once a call.
func TestMiddlewareIsWrappedOnce(t *testing.T) {
	wraps, entered := 0, []string{}
	policy := backstay.New(named{"a", &entered, &wraps})
	f := backstay.Wrap(policy, "op", noop)
	for range 3 {
		_, _ = f(context.Background(), 1)
		_, _ = backstay.Do(context.Background(), policy, "op", ok)
	}
	if wraps != 1 || len(entered) != 6 {
		t.Errorf("6 calls: Wrap ran %d times and the middleware %d times, want 1 and 6", wraps, len(entered))
	}
}

func TestAPolicyWithNothingInIt(t *testing.T) {
	for _, p := range []*backstay.Policy{nil, {}, backstay.New(), backstay.New(nil...), backstay.New((*backstay.Policy)(nil))} {
		if v, err := backstay.Do(context.Background(), p, "op", ok); v != 1 || err != nil {
			t.Errorf("Do under an empty policy = %v, %v, want 1", v, err)
		}
		called := false
		next := func(context.Context, *backstay.Call) error { called = true; return nil }
		if err := p.Wrap(next)(context.Background(), nil); err != nil || !called {
			t.Errorf("Wrap of an empty policy = %v, called %v, want next itself", err, called)
		}
		if p.String() != "" || len(p.Stack()) != 0 {
			t.Errorf("String(), Stack() of an empty policy = %q, %v, want nothing", p, p.Stack())
		}
	}
}

func TestStackIsACopy(t *testing.T) {
	policy := backstay.New(named{name: "a"}, named{name: "b"})
	clear(policy.Stack())
	if got := policy.Stack(); !slices.Equal(got, []backstay.Middleware{named{name: "a"}, named{name: "b"}}) {
		t.Errorf("Stack() after its result was cleared = %v, want a, b", got)
	}
}

type silent struct{}

func (*silent) Wrap(next backstay.Func) backstay.Func { return next }

func TestStringOfMiddlewareWithoutOne(t *testing.T) {
	policy := backstay.New(&silent{}, repeating(1))
	if got := policy.String(); got != "backstay_test.silent > func" {
		t.Errorf("String() = %q, want the type and func", got)
	}
}

// overseer notes what is beneath it.
type overseer struct {
	named
	below *[]string
}

func (o overseer) WrapOver(next backstay.Func, below []backstay.Middleware) backstay.Func {
	*o.below = nil
	for _, m := range below {
		*o.below = append(*o.below, m.(named).name)
	}
	return o.Wrap(next)
}

func TestAnOverseerIsGivenWhatIsBeneath(t *testing.T) {
	var entered, below []string
	mw := func(name string) backstay.Middleware { return named{name: name, notes: &entered} }
	o := overseer{named{name: "o", notes: &entered}, &below}
	for _, row := range []struct {
		policy *backstay.Policy
		want   string // what is beneath
		enters string
	}{
		{backstay.New(mw("a"), o, mw("b"), mw("c")), "bc", "aobc"},
		{backstay.New(o), "", "o"},
		{backstay.New(backstay.New(mw("a"), o), backstay.New(mw("b"))), "b", "aob"},
	} {
		row.policy.Wrap(func(context.Context, *backstay.Call) error { return nil }) // notes below once more
		if got := strings.Join(below, ""); got != row.want {
			t.Errorf("WrapOver in %v was given %q, want %q", row.policy, got, row.want)
		}
		entered = nil
		if err := do(ok, row.policy); err != nil || strings.Join(entered, "") != row.enters {
			t.Errorf("a call under %v entered %v (%v), want %s", row.policy, entered, err, row.enters)
		}
	}
}

// mute is an Overseer that returns no Func.
type mute struct{}

func (mute) String() string                                                         { return "mute" }
func (mute) Wrap(next backstay.Func) backstay.Func                                  { return next }
func (mute) WrapOver(next backstay.Func, below []backstay.Middleware) backstay.Func { return nil }

func TestNewPanicsWithTheFault(t *testing.T) {
	rows := map[string]func(){
		"backstay: func returned no Func from Wrap": func() {
			backstay.New(backstay.MiddlewareFunc(func(backstay.Func) backstay.Func { return nil }))
		},
		"backstay: mute returned no Func from Wrap":                 func() { backstay.New(mute{}) },
		"backstay: middleware 2 of the policy is nil: leave it out": func() { backstay.New(repeating(1), nil) },
	}
	for want, build := range rows {
		func() {
			defer func() {
				if got := recover(); got != want {
					t.Errorf("panic %v, want %q", got, want)
				}
			}()
			build()
		}()
	}
}
