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
