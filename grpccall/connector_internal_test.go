package grpccall

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
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

// A world is what a connector is told of without gRPC: the connections are as
// the test says.
type world struct {
	balancer.ClientConn
	states []balancer.State
}

func (w *world) UpdateState(s balancer.State) { w.states = append(w.states, s) }

func (w *world) NewSubConn([]resolver.Address, balancer.NewSubConnOptions) (balancer.SubConn, error) {
	return nil, errors.New("no network")
}

type subConn struct{ balancer.SubConn }

func (subConn) GetOrBuildProducer(balancer.ProducerBuilder) (balancer.Producer, func()) {
	return nil, func() {}
}

// attached returns a channel that is attached, with endpoints in the given
// states.
func attached(t testing.TB, states map[string]connectivity.State) (*channel, *connector, *world) {
	t.Helper()
	return attachedTo(t, backstay.New(loadbalance.NewBalancer(loadbalance.Config{})), states)
}

// attachedTo is attached, with a policy.
func attachedTo(t testing.TB, p *backstay.Policy, states map[string]connectivity.State) (*channel, *connector, *world) {
	t.Helper()
	c := newChannel(p, Config{NoHealth: true})
	w := &world{}
	g := newConnector(w, balancer.BuildOptions{})
	t.Cleanup(g.Close)
	s := resolver.State{}
	for address := range states {
		s.Endpoints = append(s.Endpoints, dial(address))
	}
	if err := g.UpdateClientConnState(balancer.ClientConnState{ResolverState: s, BalancerConfig: &choice{channel: c}}); err != nil {
		t.Fatal(err)
	}
	for address, state := range states {
		set(g, address, state)
	}
	return c, g, w
}

// set has pick_first say that the endpoint at address is in a state.
func set(g *connector, address string, state connectivity.State) {
	p := fixed{result: balancer.PickResult{SubConn: subConn{}}}
	if state == connectivity.TransientFailure {
		p = fixed{err: fmt.Errorf("%s is down", address)}
	}
	(*g.leaves.Load())[address].UpdateState(balancer.State{ConnectivityState: state, Picker: p})
}

type fixed struct {
	result balancer.PickResult
	err    error
}

func (f fixed) Pick(balancer.PickInfo) (balancer.PickResult, error) { return f.result, f.err }

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

// The context may end while the call looks.
//
// G-15, G-22
func TestACallThatWaitedSaysThatItsTimeIsUp(t *testing.T) {
	c, _, _ := attached(t, map[string]connectivity.State{"a": connectivity.Ready})
	c.waitsForReady = func(*backstay.Call) bool { return true }
	for looks := 1; looks <= 2; looks++ {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		looked := 0
		_, err := backstay.Bind(backstay.New(gate{c}), backstay.Op[int, int]{Do: func(context.Context, *backstay.Call, int) (int, error) {
			if looked++; looked == looks {
				cancel()
			}
			return 0, &backstay.Error{Type: notConnected, Class: backstay.Transient, NotSent: true, Err: errors.New("refused")}
		}})(ctx, 0)
		if !errors.Is(err, context.Canceled) || looked != looks {
			t.Errorf("a call whose context ends in look %d = %v after %d, want context.Canceled", looks, err, looked)
		}
	}
}

// What the resolver says has nothing to do with a call that no endpoint is for,
// say for want of a key.
func TestWhatTheResolverSaysIsToldWhereItMatters(t *testing.T) {
	c, g, _ := attached(t, map[string]connectivity.State{"a": connectivity.Ready})
	g.ResolverError(errors.New("on fire"))
	for class, want := range map[backstay.Class]string{
		backstay.Transient: "none: the resolver: on fire",
		backstay.Permanent: "none",
	} {
		err := (&client{channel: c}).outward(&backstay.Error{Type: noEndpoint, Class: class, Err: errors.New("none")})
		if got := status.Convert(err).Message(); got != want {
			t.Errorf("the call that found no endpoint, which is %v, says %q, want %q", class, got, want)
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

func TestTheStateOfTheChannelIsThatOfItsConnections(t *testing.T) {
	rows := []struct {
		a, b connectivity.State
		want connectivity.State
	}{
		{connectivity.Ready, connectivity.TransientFailure, connectivity.Ready},
		{connectivity.Connecting, connectivity.TransientFailure, connectivity.Connecting},
		{connectivity.Idle, connectivity.TransientFailure, connectivity.Connecting},
		{connectivity.TransientFailure, connectivity.TransientFailure, connectivity.TransientFailure},
	}
	for _, r := range rows {
		_, _, w := attached(t, map[string]connectivity.State{"a": r.a, "b": r.b})
		if got := w.states[len(w.states)-1].ConnectivityState; got != r.want {
			t.Errorf("with %v and %v the channel is %v, want %v", r.a, r.b, got, r.want)
		}
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

// G-25
func TestAStrategyIsTheOneOfItsName(t *testing.T) {
	hash := loadbalance.HashConfig{Key: ByMetadata("x-user")}
	rows := map[string]loadbalance.Strategy{
		"":                         loadbalance.PeakEWMA(),
		"peak_ewma":                loadbalance.PeakEWMA(),
		"round_robin":              loadbalance.RoundRobin(),
		"weighted":                 loadbalance.Weighted(),
		"random":                   loadbalance.Random(),
		"least_connections":        loadbalance.LeastConnections(),
		"least_connections_of_all": loadbalance.LeastConnectionsOfAll(),
		"hash":                     loadbalance.Hash(hash),
		"rendezvous":               loadbalance.Rendezvous(hash),
		"maglev":                   loadbalance.Maglev(hash),
	}
	for name, want := range rows {
		cfg := BalancerConfig{Strategy: name}
		if hashStrategies[name] != nil {
			cfg.HashHeader = "x-user"
		}
		g := newConnector(&world{}, balancer.BuildOptions{})
		defer g.Close()
		_ = g.UpdateClientConnState(balancer.ClientConnState{BalancerConfig: &choice{config: cfg}}) // which has no endpoints
		if got, want := g.source.Load().balancer.String(), loadbalance.NewBalancer(loadbalance.Config{Strategy: want}).String(); got != want {
			t.Errorf("the strategy %q gives %s, want %s", name, got, want)
		}
	}
}

func TestParseConfig(t *testing.T) {
	c := newChannel(backstay.New(loadbalance.NewBalancer(loadbalance.Config{})), Config{})
	rows := []struct {
		text, fault string
	}{
		{`{}`, ""},
		{`{"strategy": "round_robin", "from the future": 7}`, ""},
		{`{"strategy": "hash", "hashHeader": "x-user", "bound": 1.25, "locality": "west/a", "healthService": "orders"}`, ""},
		{`{"channel": "` + c.id + `"}`, ""},
		{`{"channel": "0"}`, "no channel"},
		{`{"strategy": "fastest"}`, `no strategy "fastest"; give one of least_connections`},
		{`{"strategy": 7}`, "cannot unmarshal"},
		{`[]`, "cannot unmarshal"},
		{`{"strategy": "maglev"}`, "needs a hashHeader"},
		{`{"strategy": "maglev", "hashHeader": "X User"}`, "cannot be the name of metadata"},
		{`{"strategy": "random", "hashHeader": "x-user"}`, "leave it out"},
		{`{"strategy": "random", "bound": 2}`, "leave it out"},
		{`{"strategy": "hash", "hashHeader": "x-user", "bound": 0.5}`, "Bound is 0.5"},
		{`{"noHealth": true, "healthService": "orders"}`, "keep one of them"},
	}
	parser := balancer.Get(Name).(balancer.ConfigParser)
	for _, r := range rows {
		_, err := parser.ParseConfig(json.RawMessage(r.text))
		if r.fault == "" && err != nil || r.fault != "" && (err == nil || !strings.Contains(err.Error(), r.fault)) {
			t.Errorf("ParseConfig(%s) = %v, want %q", r.text, err, r.fault)
		}
	}
	runtime.KeepAlive(c)
}

func TestTheServiceConfigKeepsWhatItHad(t *testing.T) {
	c := newChannel(backstay.New(loadbalance.NewBalancer(loadbalance.Config{})), Config{})
	var got map[string]any
	if err := json.Unmarshal([]byte(c.serviceConfig(`{"methodConfig": [{"name": [{}], "timeout": "1s"}]}`)), &got); err != nil {
		t.Fatal(err)
	}
	if keys := slices.Sorted(maps.Keys(got)); !slices.Equal(keys, []string{"loadBalancingConfig", "methodConfig"}) {
		t.Errorf("the service config has %v, want the methodConfig that was given and a loadBalancingConfig", keys)
	}
}

func TestAChannelThatIsDroppedIsForgotten(t *testing.T) {
	known := func(id string) bool {
		channels.mu.Lock()
		defer channels.mu.Unlock()
		_, ok := channels.byID[id]
		return ok
	}
	b := loadbalance.NewBalancer(loadbalance.Config{}) // which lives on
	id := newChannel(backstay.New(b), Config{}).id
	for end := time.Now().Add(10 * time.Second); known(id); <-time.After(time.Millisecond) {
		if runtime.GC(); time.Now().After(end) {
			t.Fatal("a channel that nobody has is known after 10s, want it forgotten")
		}
	}
	runtime.KeepAlive(b)
}

func TestAPolicyWithoutABalancerHasNoChannel(t *testing.T) {
	for _, p := range []*backstay.Policy{nil, backstay.New()} {
		if c := newChannel(p, Config{}); c != nil {
			t.Errorf("newChannel(%v) = %v, want nil", p, c)
		}
	}
}

func TestWhatAnEndpointIs(t *testing.T) {
	e := loadbalance.Endpoint{Weight: 2, Locality: "west/a", Role: loadbalance.Primary, Attributes: map[string]string{"zone": "7"}}
	ep := WithEndpoint(dial("unix:///tmp/s"), e)
	got := EndpointOf(ep)
	if got.Address != "unix:/tmp/s" || got.Weight != 2 || got.Locality != "west/a" || got.Role != loadbalance.Primary || got.Attributes["zone"] != "7" {
		t.Errorf("EndpointOf(WithEndpoint(unix:///tmp/s, %v)) = %v, want the same at unix:/tmp/s", e, got)
	}
	if got := EndpointOf(dial("10.0.0.1:80")); got.Address != "10.0.0.1:80" || got.Weight != 0 {
		t.Errorf("EndpointOf(10.0.0.1:80) = %v, want its address and nothing else", got)
	}
	if got := EndpointOf(resolver.Endpoint{}); got.Address != "" {
		t.Errorf("EndpointOf of no address = %v, want none", got)
	}
	same, other := WithEndpoint(dial("a"), e), WithEndpoint(dial("a"), loadbalance.Endpoint{Weight: 3})
	if !ep.Attributes.Equal(same.Attributes) || ep.Attributes.Equal(other.Attributes) {
		t.Error("the attributes of endpoints are equal for different ones, or differ for the same")
	}
}

func TestWhatIsFound(t *testing.T) {
	address := func(a ...string) (all []resolver.Address) {
		for _, s := range a {
			all = append(all, resolver.Address{Addr: s})
		}
		return all
	}
	rows := []struct {
		state resolver.State
		want  string
	}{
		{resolver.State{}, "[]"},
		{resolver.State{Addresses: address("a", "b")}, "[a:[a] b:[b]]"},
		{resolver.State{Endpoints: []resolver.Endpoint{{Addresses: address("a", "x")}, {Addresses: address("b")}, {Addresses: address("a", "y")}}}, "[a:[a x y] b:[b]]"},
		{resolver.State{Endpoints: []resolver.Endpoint{{}, {Addresses: address("")}, {Addresses: address("a")}}}, "[a:[a]]"},
	}
	for _, r := range rows {
		var got []string
		for _, f := range findings(r.state) {
			var dialled []string
			for _, a := range f.dial.Addresses {
				dialled = append(dialled, a.Addr)
			}
			got = append(got, fmt.Sprintf("%s:%v", f.endpoint.Address, dialled))
		}
		if fmt.Sprint(got) != r.want {
			t.Errorf("findings(%v) = %v, want %v", r.state, got, r.want)
		}
	}
}

// A mute connection ends each stream with a status and no message.
type mute struct {
	grpc.ClientConnInterface
	code  codes.Code
	asked int
}

func (m *mute) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	m.asked++
	return nil, status.Error(m.code, "no")
}

func TestAServerIsAskedAgainUnlessItHasRefused(t *testing.T) {
	for code, once := range map[codes.Code]bool{
		codes.Unimplemented: true, codes.NotFound: true, codes.Unauthenticated: true, codes.PermissionDenied: true,
		codes.Unavailable: false, codes.Internal: false,
	} {
		synctest.Test(t, func(t *testing.T) {
			m := &mute{code: code}
			_, stop := (&watch{tell: func(bool) {}}).Build(m)
			<-time.After(time.Minute)
			stop()
			if (m.asked == 1) != once {
				t.Errorf("a server that ended the stream with %v was asked %d times in a minute, want once: %v", code, m.asked, once)
			}
		})
	}
}

func TestWaitingForAConnectionIsNoLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, g, _ := attached(t, map[string]connectivity.State{"a": connectivity.Connecting})
		began := backstay.MiddlewareFunc(func(next backstay.Func) backstay.Func {
			return func(ctx context.Context, call *backstay.Call) error {
				call.Began()
				return next(ctx, call)
			}
		})
		call := backstay.Bind(backstay.New(began, gate{c}), backstay.Op[int, time.Duration]{
			Name: "orders.Get",
			Do: func(_ context.Context, call *backstay.Call, _ int) (time.Duration, error) {
				return call.Ended() - call.Began(), nil
			},
		})
		time.AfterFunc(time.Second, func() { set(g, "a", connectivity.Ready) })
		if took, err := call(t.Context(), 0); took != 0 || err != nil {
			t.Errorf("a call that waited 1s for a connection took %v (%v), want 0s", took, err)
		}
	})
}

func TestThePauseBetweenHealthStreamsGrows(t *testing.T) {
	for _, r := range []struct {
		tries      int
		low, above time.Duration
	}{{0, 800 * time.Millisecond, 1200 * time.Millisecond}, {1, 1280 * time.Millisecond, 1920 * time.Millisecond}, {1000, 96 * time.Second, 144 * time.Second}} {
		if got := pause(r.tries); got < r.low || got > r.above {
			t.Errorf("pause(%d) = %v, want %v to %v", r.tries, got, r.low, r.above)
		}
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

// A dialling world does something when it is to connect.
type dialling struct {
	world
	then func()
}

func (d *dialling) NewSubConn(addresses []resolver.Address, opts balancer.NewSubConnOptions) (balancer.SubConn, error) {
	d.then()
	return d.world.NewSubConn(addresses, opts)
}

// L-26
func TestAnEndpointThatLeavesWhileTheChannelIsMadeIsNotConnected(t *testing.T) {
	b := loadbalance.New(loadbalance.RoundRobin(), "a", "b")
	c := newChannel(backstay.New(b), Config{NoHealth: true})
	g := newConnector(&dialling{then: func() { _ = b.Update(loadbalance.Endpoints("a")...) }}, balancer.BuildOptions{})
	next := newConnector(&dialling{then: func() { _ = b.Update(loadbalance.Endpoints("a")...) }}, balancer.BuildOptions{})
	t.Cleanup(g.Close)
	t.Cleanup(next.Close)
	check := func(g *connector) {
		t.Helper()
		if leaves := *g.leaves.Load(); leaves["b"] != nil || leaves["a"] == nil {
			t.Errorf("a is being connected: %v, and b, which has left: %v; want true, false", leaves["a"] != nil, leaves["b"] != nil)
		}
	}
	use := balancer.ClientConnState{BalancerConfig: &choice{channel: c}}
	_ = g.UpdateClientConnState(use)
	check(g)
	_ = next.UpdateClientConnState(use) // waits for its turn
	_ = b.Update(loadbalance.Endpoints("a", "b")...)
	g.Close()
	check(next)
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
