package grpccall

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/internal/race"
	"github.com/backstay-go/backstay/loadbalance"
)

// pinnedTo returns what gRPC picks for an attempt that the policy has picked for.
func pinnedTo(c *channel, address string) (*attempt, balancer.PickInfo) {
	a := &attempt{Context: context.Background(), endpoint: address, channel: c, target: c.attached.Load().target, request: &Request{}}
	return a, balancer.PickInfo{Ctx: a, FullMethodName: "/orders.v1.Orders/Get"}
}

// G-25
func TestAnAttemptIsPinnedToTheEndpointThatThePolicyPicked(t *testing.T) {
	const (
		up         = connectivity.Ready
		connecting = connectivity.Connecting
		down       = connectivity.TransientFailure
	)
	rows := []struct {
		a, b    connectivity.State // of a, where the attempt goes, and of another
		err     error              // that is none of gRPC's own
		code    codes.Code
		refused bool
	}{
		{up, down, nil, codes.OK, false},
		{connecting, up, nil, codes.OK, false}, // goes to the other
		{connecting, down, balancer.ErrNoSubConnAvailable, codes.Unknown, false},
		{connectivity.Idle, up, nil, codes.OK, false},
		{connectivity.Idle, connecting, balancer.ErrNoSubConnAvailable, codes.Unknown, false},
		{down, up, nil, codes.Unavailable, true},
		{down, down, errors.New("grpccall: no connection to a: a is down"), codes.Unknown, false},
		{down, connecting, errors.New("grpccall: no connection to a: a is down"), codes.Unknown, false},
	}
	for _, r := range rows {
		c, g, _ := attached(t, map[string]connectivity.State{"a": r.a, "b": r.b})
		a, info := pinnedTo(c, "a")
		_, err := g.picker.Pick(info)
		if status.Code(err) != r.code || r.err != nil && err.Error() != r.err.Error() || a.refused.Load() != r.refused {
			t.Errorf("Pick() of a, %v, beside one that is %v = %v, refused %v, want %v (%v), refused %v", r.a, r.b, err, a.refused.Load(), r.code, r.err, r.refused)
		}
	}
}

// A breaker beneath the policy's balancer is heeded by the pick of what is made
// again, too.
//
// L-22
func TestAnAttemptThatMovesPassesOverOpenBreakers(t *testing.T) {
	group := breaker.NewGroup(breaker.Config{Cooldown: time.Hour}, breaker.ByEndpoint)
	group.Breaker("b").ForceOpen()
	up := connectivity.Ready
	c, g, _ := attachedTo(t, backstay.New(loadbalance.NewBalancer(loadbalance.Config{}), group), map[string]connectivity.State{"a": up, "b": up, "c": up})
	for range 10 {
		a, info := pinnedTo(c, "a")
		set(g, "a", up)
		if _, err := g.picker.Pick(info); err != nil || a.leased.Load() != nil {
			t.Fatalf("Pick() of a, which is connected = %v, elsewhere %v; want a", err, a.leased.Load())
		}
		set(g, "a", connectivity.TransientFailure)
		got, err := g.picker.Pick(info)
		if err != nil || a.leased.Load().Address() != "c" {
			t.Fatalf("Pick() of a, which has lost its connection, beside b, whose breaker is open, and c = %v, at %v; want c", err, a.leased.Load())
		}
		got.Done(balancer.DoneInfo{})
	}
}

// Where the breakers turn away all that is connected, nothing is sent, for none
// of them stands beneath the pick.
//
// L-22, B-15
func TestAnAttemptThatMovesGoesNowhereWhereAllBreakersAreOpen(t *testing.T) {
	const up, connecting, down = connectivity.Ready, connectivity.Connecting, connectivity.TransientFailure
	for _, row := range []struct {
		name   string
		placed bool
		then   connectivity.State
		waits  bool
	}{
		{"lost, connecting", true, connecting, true},
		{"lost, down", true, down, false},
		{"connecting", false, connecting, true},
		{"down", false, down, false},
	} {
		group := breaker.NewGroup(breaker.Config{Cooldown: time.Hour}, breaker.ByEndpoint)
		group.Breaker("b").ForceOpen()
		b := loadbalance.NewBalancer(loadbalance.Config{})
		c, g, _ := attachedTo(t, backstay.New(b, group), map[string]connectivity.State{"a": up, "b": up})
		for range 20 {
			a, info := pinnedTo(c, "a")
			set(g, "a", up)
			if row.placed {
				_, _ = g.picker.Pick(info)
			}
			set(g, "a", row.then)
			got, err := g.picker.Pick(info)
			if got.SubConn != nil || err == nil || (err == balancer.ErrNoSubConnAvailable) != row.waits {
				t.Fatalf("%s: Pick() of a, beside b, whose breaker is open = %v, %v; want nothing, and that the call waits: %v", row.name, got.SubConn, err, row.waits)
			}
			if err == errTurnedAway && !a.refused.Load() {
				t.Fatalf("%s: Pick() of a = %v, and the policy is not told that a is not connected", row.name, err)
			}
			if a.leased.Load() != nil {
				t.Fatalf("%s: the attempt has a lease of %s, where it did not go", row.name, a.leased.Load().Address())
			}
		}
		for _, n := range b.Nodes() {
			if n.InFlight() != 0 {
				t.Errorf("%s: %d calls in flight at %s, want none", row.name, n.InFlight(), n.Address())
			}
		}
	}
}

// A place that is back takes the attempt again.
func TestAnAttemptThatMovesAndComesBackHasNotMoved(t *testing.T) {
	c, g, _ := attached(t, map[string]connectivity.State{"a": connectivity.Ready, "b": connectivity.Ready})
	a, info := pinnedTo(c, "a")
	for _, row := range []struct {
		state connectivity.State
		moved bool
	}{{connectivity.Ready, false}, {connectivity.Connecting, true}, {connectivity.Ready, false}} {
		set(g, "a", row.state)
		got, err := g.picker.Pick(info)
		if err != nil {
			t.Fatal(err)
		}
		if got.Done != nil {
			got.Done(balancer.DoneInfo{})
		}
		want := map[bool]string{false: "a", true: "b"}[row.moved]
		_, _ = backstay.Bind(nil, backstay.Op[int, int]{Do: func(_ context.Context, call *backstay.Call, _ int) (int, error) {
			call.Try("b", nil) // as the pick of an attempt does that has a Call
			a.moved(call)
			if call.Moved() != row.moved || call.Endpoint != want {
				t.Errorf("with a %v: Moved(), Endpoint = %v, %q; want %v, %q", row.state, call.Moved(), call.Endpoint, row.moved, want)
			}
			return 0, nil
		}})(t.Context(), 0)
	}
}

// Where the policy has no balancer, the pick of gRPC's balancer is the first.
func TestAnAttemptThatThePolicySentNowhereHasNotMoved(t *testing.T) {
	_, g, _ := attached(t, map[string]connectivity.State{"a": connectivity.Ready})
	a := &attempt{Context: t.Context(), target: g.target, request: &Request{}}
	got, err := g.picker.Pick(balancer.PickInfo{Ctx: a, FullMethodName: "/orders.v1.Orders/Get"})
	if err != nil || a.leased.Load() == nil {
		t.Fatalf("Pick() = %v, with a lease: %v; want a lease", err, a.leased.Load() != nil)
	}
	got.Done(balancer.DoneInfo{})
	_, _ = backstay.Bind(nil, backstay.Op[int, int]{Do: func(_ context.Context, call *backstay.Call, _ int) (int, error) {
		call.Try("a", nil)
		a.moved(call)
		if call.Moved() || call.Endpoint != "a" {
			t.Errorf("Moved(), Endpoint = %v, %q; want false, a", call.Moved(), call.Endpoint)
		}
		return 0, nil
	}})(t.Context(), 0)
}

// What gRPC makes again more than once goes to one after the other.
//
// L-23
func TestAStreamThatIsMadeAgainAndAgainGoesToOneAfterTheOther(t *testing.T) {
	const up = connectivity.Ready
	first := loadbalance.Custom("first", func(_ context.Context, _ *backstay.Call, nodes []*loadbalance.Node) *loadbalance.Node {
		return slices.MinFunc(nodes, func(a, b *loadbalance.Node) int { return strings.Compare(a.Address(), b.Address()) })
	})
	b := loadbalance.NewBalancer(loadbalance.Config{Strategy: first})
	c, g, _ := attachedTo(t, backstay.New(b), map[string]connectivity.State{"a": up, "b": up, "c": up})
	a, info := pinnedTo(c, "a")
	a.tried = []string{"a"}
	at := func() string {
		if l := a.leased.Load(); l != nil {
			return l.Address()
		}
		return a.endpoint
	}
	var got []string
	for range 3 {
		result, err := g.picker.Pick(info)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, at())
		if result.Done != nil {
			result.Done(balancer.DoneInfo{})
		}
	}
	if want := []string{"a", "b", "c"}; !slices.Equal(got, want) {
		t.Errorf("the stream went to %q, want %q", got, want)
	}
}

// A call that waits looks again for the sake of breakers only where one keeps it
// from something that is connected.
func TestOnlyTheBreakersOfWhatIsConnectedAreLookedAt(t *testing.T) {
	for _, row := range []struct {
		a    connectivity.State
		open string
		want bool
	}{
		{connectivity.Ready, "", false},
		{connectivity.Ready, "a", true},
		{connectivity.Ready, "b", false},
		{connectivity.Connecting, "a", false},
		{connectivity.TransientFailure, "a", false},
	} {
		group := breaker.NewGroup(breaker.Config{Cooldown: time.Hour}, breaker.ByEndpoint)
		if row.open != "" {
			group.Breaker(row.open).ForceOpen()
		}
		c, _, _ := attachedTo(t, backstay.New(loadbalance.NewBalancer(loadbalance.Config{}), group), map[string]connectivity.State{"a": row.a})
		if got := c.barred(); got != row.want {
			t.Errorf("barred() with a %v and the breaker of %q open = %v, want %v", row.a, row.open, got, row.want)
		}
	}
}

// Many picks may wait for a breaker at once, and each time gRPC is told it makes
// all of them again.
func TestGRPCIsAskedToPickAgainOnceForAllThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, g, w := attached(t, map[string]connectivity.State{"a": connectivity.Ready})
		for round := range 2 {
			before := len(w.states)
			for range 100 {
				g.lookAgain()
			}
			<-time.After(lookAgain)
			synctest.Wait()
			if n := len(w.states) - before; n != 1 {
				t.Errorf("round %d: gRPC is told %d times for 100 picks, want once", round, n)
			}
		}
	})
}

// gRPC has wait-for-ready calls wait for anything that is no status.
//
// G-22
func TestWantOfWhatWillNotComeEndsACallThatWaits(t *testing.T) {
	// What a pick finds that is made before the endpoints come, and after.
	b := loadbalance.NewBalancer(loadbalance.Config{})
	desk := b.Desk(nil)
	pick := backstay.Bind(nil, backstay.Op[int, *loadbalance.Lease]{Do: func(ctx context.Context, call *backstay.Call, _ int) (*loadbalance.Lease, error) {
		return desk.Pick(ctx, call)
	}})
	find := func() error {
		_, err := pick(t.Context(), 0)
		return err
	}
	unfed := find()
	_ = b.Update()
	empty := find()
	nobody := loadbalance.Custom("nobody", func(context.Context, *backstay.Call, []*loadbalance.Node) *loadbalance.Node { return nil })
	b = loadbalance.NewBalancer(loadbalance.Config{Strategy: nobody, Endpoints: loadbalance.Endpoints("a")})
	desk = b.Desk(nil)
	notForIt := find() // as when all are ejected: nobody tells gRPC when that ends
	_ = b.Close(t.Context())
	closed := find()
	for _, row := range []struct {
		err            error
		policy, config bool // whether it ends calls, under a policy and by the service config
	}{
		{unfed, false, false},
		{empty, false, false},
		{notForIt, true, false},
		{closed, true, true},
	} {
		_, underPolicy := status.FromError((&source{channel: &channel{}}).refusal(row.err))
		_, byConfig := status.FromError((&source{}).refusal(row.err))
		if underPolicy != row.policy || byConfig != row.config {
			t.Errorf("%q ends a call that waits: %v under a policy, %v by the service config; want %v, %v", row.err, underPolicy, byConfig, row.policy, row.config)
		}
	}
}

func TestAnEndpointThatHasLeftIsRefused(t *testing.T) {
	c, g, _ := attached(t, map[string]connectivity.State{"a": connectivity.Ready})
	a, info := pinnedTo(c, "gone")
	if _, err := g.picker.Pick(info); status.Code(err) != codes.Unavailable || !a.refused.Load() {
		t.Errorf("Pick() of an endpoint that has left = %v, refused %v, want UNAVAILABLE, refused", err, a.refused.Load())
	}
}

func TestAPinnedPickAllocatesNothing(t *testing.T) {
	if race.Enabled {
		t.Skip("counting allocations makes no sense under the race detector")
	}
	c, g, _ := attached(t, map[string]connectivity.State{"a": connectivity.Ready, "b": connectivity.TransientFailure})
	for _, address := range []string{"a", "b"} {
		a, info := pinnedTo(c, address)
		if n := testing.AllocsPerRun(100, func() { _, _ = g.picker.Pick(info); a.placed.Store(false) }); n != 0 {
			t.Errorf("Pick() of %s allocates %v times, want 0", address, n)
		}
	}
}

// G-25
func TestTheBalancerPassesOverWhatIsNotConnected(t *testing.T) {
	c, g, _ := attached(t, map[string]connectivity.State{"a": connectivity.Ready, "b": connectivity.TransientFailure})
	last := c.policy().Stack()
	blocker := last[len(last)-1].(interface{ Blocks(string) bool })
	for address, want := range map[string]bool{"a": false, "b": true} {
		if got := blocker.Blocks(address); got != want {
			t.Errorf("Blocks(%q) = %v, want %v", address, got, want)
		}
	}
	g.Close()
	if blocker.Blocks("b") {
		t.Error("Blocks(b) = true while the channel is idle, want false")
	}
}

// What comes again to an endpoint that is connected has been there.
//
// L-22, L-23
func TestAnAttemptThatComesAgainGoesElsewhereIfItCan(t *testing.T) {
	const up, down = connectivity.Ready, connectivity.TransientFailure
	for _, row := range []struct {
		name     string
		b        connectivity.State
		aIs, bIs func(*breaker.Breaker) // their breakers
		want     string
	}{
		{"beside one that is well", up, nil, nil, "b"},
		{"beside one that is well, its own breaker open", up, (*breaker.Breaker).ForceOpen, nil, "b"},
		{"beside one that is down", down, nil, nil, "a"},
		{"beside one whose breaker is open", up, nil, (*breaker.Breaker).ForceOpen, "a"},
		{"beside one whose breaker is open, like its own", up, (*breaker.Breaker).ForceOpen, (*breaker.Breaker).ForceOpen, "a"}, // which has let it pass
	} {
		group := breaker.NewGroup(breaker.Config{Cooldown: time.Hour}, breaker.ByEndpoint)
		b := loadbalance.NewBalancer(loadbalance.Config{})
		c, g, _ := attachedTo(t, backstay.New(b, group), map[string]connectivity.State{"a": up, "b": row.b})
		for range 10 {
			a, info := pinnedTo(c, "a")
			a.tried = []string{"a"}
			if _, err := g.picker.Pick(info); err != nil {
				t.Fatal(err)
			}
			for address, set := range map[string]func(*breaker.Breaker){"a": row.aIs, "b": row.bIs} {
				if set != nil {
					set(group.Breaker(address))
				}
			}
			result, err := g.picker.Pick(info)
			got := "a"
			if l := a.leased.Load(); l != nil {
				got = l.Address()
				result.Done(balancer.DoneInfo{})
			}
			if err != nil || got != row.want {
				t.Fatalf("%s: the second Pick() of a = %v, to %s; want %s", row.name, err, got, row.want)
			}
		}
		for _, n := range b.Nodes() {
			if n.InFlight() != 0 {
				t.Errorf("%s: %d calls are in flight at %s, want none", row.name, n.InFlight(), n.Address())
			}
		}
	}
}

// A pick may have begun with the balancer that a new service config replaces.
func TestAPickThatMeetsAChangeOfStrategyIsMadeAgain(t *testing.T) {
	g := newConnector(&world{}, balancer.BuildOptions{})
	t.Cleanup(g.Close)
	change := func(strategy string) {
		_ = g.UpdateClientConnState(balancer.ClientConnState{
			ResolverState:  resolver.State{Endpoints: []resolver.Endpoint{dial("a")}},
			BalancerConfig: &choice{config: BalancerConfig{Strategy: strategy}},
		})
		set(g, "a", connectivity.Ready)
	}
	change("random")
	before := g.source.Load()
	change("round_robin")
	if _, err := g.picker.late(before, nil, balancer.PickInfo{Ctx: t.Context(), FullMethodName: "/x/y"}); err != balancer.ErrNoSubConnAvailable {
		t.Errorf("the pick = %v, want %v", err, balancer.ErrNoSubConnAvailable)
	}
}

// G-24, as far as it is about endpoints that are picked late.
func TestWhatTheEndOfAnAttemptSaysOfItsEndpoint(t *testing.T) {
	over, end := context.WithCancel(context.Background())
	end()
	rows := []struct {
		ctx  context.Context
		info balancer.DoneInfo
		want backstay.Class
		sent bool
	}{
		{context.Background(), balancer.DoneInfo{}, backstay.Transient, false},
		{context.Background(), balancer.DoneInfo{BytesSent: true}, backstay.Success, true},
		{context.Background(), balancer.DoneInfo{BytesSent: true, Err: status.Error(codes.NotFound, "")}, backstay.Permanent, true},
		{context.Background(), balancer.DoneInfo{BytesSent: true, Err: status.Error(codes.Unavailable, "")}, backstay.Transient, true},
		{context.Background(), balancer.DoneInfo{BytesSent: true, Err: status.Error(codes.Canceled, "")}, backstay.Permanent, true},
		{context.Background(), balancer.DoneInfo{BytesSent: true, Err: status.Error(codes.DeadlineExceeded, "")}, backstay.Broken, true},
		{over, balancer.DoneInfo{BytesSent: true, Err: status.Error(codes.Canceled, "")}, backstay.Canceled, true},
	}
	for _, r := range rows {
		err := outcome(r.ctx, r.info)
		if backstay.Classify(err) != r.want || backstay.NotSent(err) == r.sent {
			t.Errorf("outcome(%+v) = %v, %v, sent %v, want %v, sent %v", r.info, err, backstay.Classify(err), !backstay.NotSent(err), r.want, r.sent)
		}
	}
}

func TestStreamsAreToldByTheDefinition(t *testing.T) {
	for name, want := range map[string]bool{
		"/grpc.health.v1.Health/Watch": true, "/grpc.health.v1.Health/Check": false, "/unknown.Service/Method": false, "": false,
	} {
		if got := defined(name).streams; got != want {
			t.Errorf("defined(%q).streams = %v, want %v", name, got, want)
		}
	}
}

// gRPC ends all calls with an error of a pick that is a status, and makes the
// code INTERNAL for which a balancer has no business.
//
// G-22
func TestAStatusOfTheResolverEndsNoCallThatWaits(t *testing.T) {
	for name, states := range map[string]map[string]connectivity.State{"with an endpoint": {"a": connectivity.TransientFailure}, "without": {}} {
		g := newConnector(&world{}, balancer.BuildOptions{})
		t.Cleanup(g.Close)
		s := resolver.State{}
		for address := range states {
			s.Endpoints = append(s.Endpoints, dial(address))
		}
		_ = g.UpdateClientConnState(balancer.ClientConnState{ResolverState: s, BalancerConfig: &choice{}})
		for address, state := range states {
			set(g, address, state)
		}
		g.ResolverError(status.Error(codes.NotFound, "no such service"))
		_, err := g.picker.Pick(balancer.PickInfo{Ctx: t.Context(), FullMethodName: "/x/y"})
		if _, is := status.FromError(err); is || !strings.Contains(err.Error(), "no such service") {
			t.Errorf("%s: Pick() = %v, a status: %v; want what the resolver said, and no status", name, err, is)
		}
	}
}
