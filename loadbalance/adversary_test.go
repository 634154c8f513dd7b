package loadbalance_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/loadbalance"
)

// L-18
func TestProbeThatHangsDoesNotKeepAnEndpointOut(t *testing.T) {
	in(t, loadbalance.RoundRobin(), loadbalance.HealthConfig{}, []string{"a", "b", "c"}, func(t *testing.T, b *loadbalance.Balancer, s *service) {
		sicken(t, b, "a")
		release := make(chan struct{})
		s.becomes("a", func(ctx context.Context) error { <-release; return nil })
		call := s.under(b)
		<-time.After(6 * time.Second)
		for range 10 {
			go func() { _ = call(context.Background()) }()
			<-time.After(time.Millisecond)
		}
		s.becomes("a", nil) // it is well from now on
		for range 3600 {
			<-time.After(time.Second)
			_ = call(context.Background())
		}
		if got := state(b, "a"); got != loadbalance.Available {
			t.Errorf("State() an hour after the endpoint is well = %v, want available", got)
		}
		close(release)
	})
}

type evil struct{}

func (*evil) Error() string { return "evil" }

func (e *evil) Timeout() bool { panic("nil dereference in an error's method") }

type evil2 struct{}

func (evil2) Error() string { return "evil" }

func (evil2) Is(error) bool { panic("in Is") }

// L-18
func TestErrorThatPanicsDoesNotKeepTheProbe(t *testing.T) {
	for _, bad := range []error{&evil{}, evil2{}} {
		in(t, loadbalance.RoundRobin(), loadbalance.HealthConfig{}, []string{"a", "b", "c"}, func(t *testing.T, b *loadbalance.Balancer, s *service) {
			sicken(t, b, "a")
			<-time.After(6 * time.Second)
			s.becomes("a", func(ctx context.Context) error { <-ctx.Done(); return bad })
			call := s.under(b)
			func() {
				defer func() { _ = recover() }()
				for range 10 {
					ctx, cancel := context.WithTimeout(context.Background(), time.Second)
					_ = call(ctx)
					cancel()
				}
			}()
			s.becomes("a", nil)
			for range 100 {
				<-time.After(time.Second)
				_ = call(context.Background())
			}
			if got := state(b, "a"); got != loadbalance.Available {
				t.Errorf("State() = %v, want available", got)
			}
			if n := node(t, b, "a").InFlight(); n != 0 {
				t.Errorf("InFlight() = %d, want 0", n)
			}
		})
	}
}

// L-9
func TestErrorThatPanicsIsNotInFlight(t *testing.T) {
	in(t, loadbalance.RoundRobin(), loadbalance.HealthConfig{}, []string{"a", "b", "c"}, func(t *testing.T, b *loadbalance.Balancer, s *service) {
		wrap := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
			return func(ctx context.Context, call *backstay.Call) error {
				return evil2{}
			}
		})
		call := s.under(b, wrap, breaker.NewGroup(breaker.Config{}, breaker.ByEndpoint))
		func() {
			defer func() { _ = recover() }()
			_ = call(context.Background())
		}()
		for _, n := range b.Nodes() {
			if n.InFlight() != 0 {
				t.Errorf("InFlight of %s = %d, want 0", n.Address(), n.InFlight())
			}
		}
	})
}

// L-18
func TestCallThatIsOlderThanAnEjectionMayBeTheProbe(t *testing.T) {
	in(t, loadbalance.RoundRobin(), loadbalance.HealthConfig{}, []string{"a", "b", "c"}, func(t *testing.T, b *loadbalance.Balancer, s *service) {
		var wait atomic.Int64 // a time.Duration
		reads := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
			return func(ctx context.Context, call *backstay.Call) error { call.Began(); return next(ctx, call) }
		})
		queue := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
			return func(ctx context.Context, call *backstay.Call) error {
				if d := wait.Load(); d > 0 {
					<-time.After(time.Duration(d))
				}
				return next(ctx, call)
			}
		})
		call := s.under(reads, queue, b)
		go func() { // queued before a comes back for the first time
			wait.Store(int64(40 * time.Second))
			_ = call(context.Background())
		}()
		<-time.After(time.Second)
		wait.Store(0)
		sicken(t, b, "a")
		<-time.After(6 * time.Second)
		for state(b, "a") == loadbalance.Probing { // drawn by one call or another
			_ = call(t.Context())
		}
		<-time.After(23 * time.Second)
		sicken(t, b, "a") // ejected at 30 s, probing at 35
		<-time.After(30 * time.Second)
		for range 1000 {
			<-time.After(time.Second)
			_ = call(context.Background())
		}
		if got := state(b, "a"); got != loadbalance.Available {
			t.Errorf("State() = %v, want available", got)
		}
	})
}

func TestCustomThatTakesABlockedNodeEnds(t *testing.T) {
	var b *loadbalance.Balancer
	asked := 0
	b = balance(loadbalance.Custom("sticky", func(_ context.Context, _ *backstay.Call, among []*loadbalance.Node) *loadbalance.Node {
		asked++
		if asked > 1_000_000 {
			panic("spins")
		}
		return b.Nodes()[0]
	}), loadbalance.HealthConfig{ConsecutiveFailures: loadbalance.Never}, "a", "b", "c")
	g := breaker.NewGroup(breaker.Config{}, breaker.ByEndpoint)
	var s service
	s.becomes("a", is(errDown))
	call := s.under(b, g)
	defer func() {
		if r := recover(); r != nil {
			t.Errorf("one call asked the strategy %d times, want a few", asked)
		}
	}()
	for range 50 {
		asked = 0
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		err := call(ctx)
		cancel()
		_ = err
	}
}

func TestPeakEWMAAfterIdleWeeks(t *testing.T) {
	in(t, loadbalance.PeakEWMA(), loadbalance.HealthConfig{}, []string{"a", "b", "c"}, func(t *testing.T, b *loadbalance.Balancer, s *service) {
		for _, a := range b.Addresses() {
			s.becomes(a, after(10*time.Millisecond, nil))
		}
		call := s.under(b)
		repeat(t.Context(), 300, call)
		s.becomes("a", is(errDown))
		for s.count(); s.had("a") == 0; {
			_ = call(t.Context())
		}
		s.becomes("a", after(10*time.Millisecond, nil))
		<-time.After(27 * 24 * time.Hour)
		s.count()
		for range 60 * 60 * 2 {
			_ = call(t.Context())
			<-time.After(time.Second)
		}
		got := s.count()
		if got["a"] < 100 {
			t.Errorf("a had %d of %d calls in two hours after 27 idle days, want its share", got["a"], 7200)
		}
	})
}
