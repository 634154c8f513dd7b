package bench

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/failsafe-go/failsafe-go/failsafegrpc"
	failsafetimeout "github.com/failsafe-go/failsafe-go/timeout"
	grpcretry "github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/retry"
	grpctimeout "github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/timeout"
	"github.com/sony/gobreaker/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/internal/race"
	"github.com/backstay-go/backstay/timeout"
)

// A unaryStack is what one library puts around the unary calls of a channel,
// measured over an invoker that costs nothing.
type unaryStack struct {
	what, library string
	interceptor   grpc.UnaryClientInterceptor
	rejects       bool
}

func unaryStacks() []unaryStack {
	return []unaryStack{
		{what: "none", library: "bare", interceptor: bareUnary},
		{what: "none", library: "backstay", interceptor: ours()},
		{what: "timeout", library: "context.WithTimeout", interceptor: underTimeout(bareUnary)},
		{what: "timeout", library: "backstay", interceptor: ours(timeout.Call(callLimit))},
		{what: "timeout", library: "go-grpc-middleware", interceptor: grpctimeout.UnaryClientInterceptor(callLimit)},
		{what: "timeout", library: "failsafegrpc", interceptor: failsafeUnary(failsafetimeout.New[any](callLimit))},
		{what: "retry", library: "backstay", interceptor: ours(ourRetry())},
		{what: "retry", library: "go-grpc-middleware", interceptor: middlewareUnary(0)},
		{what: "retry", library: "failsafegrpc", interceptor: failsafeUnary(failsafeUnaryRetry())},
		{what: "retry", library: "backoff", interceptor: backedOffUnary(bareUnary)},
		{what: "breaker", library: "backstay", interceptor: ours(ourBreaker())},
		{what: "breaker", library: "failsafegrpc", interceptor: failsafeUnary(failsafeUnaryBreaker())},
		{what: "breaker", library: "gobreaker", interceptor: brokenUnary(bareBreaker())},
		{what: "retry+timeout of an attempt", library: "backstay", interceptor: ours(ourRetry(), timeout.Attempt(callLimit))},
		{what: "retry+timeout of an attempt", library: "go-grpc-middleware", interceptor: middlewareUnary(callLimit)},
		{what: "retry+timeout of an attempt", library: "failsafegrpc", interceptor: failsafeUnary(failsafeUnaryRetry(), failsafetimeout.New[any](callLimit))},
		{what: "retry+timeout of an attempt", library: "backoff", interceptor: backedOffUnary(underTimeout(bareUnary))},
		{what: "retry+breaker+timeout", library: "backstay", interceptor: ours(timeout.Call(callLimit), ourRetry(), ourBreaker())},
		{what: "retry+breaker+timeout", library: "failsafegrpc", interceptor: failsafeUnary(failsafetimeout.New[any](callLimit), failsafeUnaryRetry(), failsafeUnaryBreaker())},
		{what: "retry+breaker+timeout", library: "backoff+gobreaker", interceptor: byHandUnary()},
		{what: "reject", library: "backstay", interceptor: ours(ourOpenBreaker()), rejects: true},
		{what: "reject", library: "failsafegrpc", interceptor: failsafeUnary(failsafeOpenUnaryBreaker()), rejects: true},
		{what: "reject", library: "gobreaker", interceptor: brokenUnary(bareOpenBreaker()), rejects: true},
	}
}

const getMethod = "/orders.v1.Orders/Get"

// invokeNothing is the call that costs nothing.
func invokeNothing(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error {
	return nil
}

// invokeDone takes ctx.Done(), as every call on a connection does.
func invokeDone(ctx context.Context, _ string, _, _ any, _ *grpc.ClientConn, _ ...grpc.CallOption) error {
	_ = ctx.Done()
	return nil
}

// over returns the calls of i over an invoker.
func over(invoker grpc.UnaryInvoker, i grpc.UnaryClientInterceptor) func(context.Context) error {
	req, reply := &pb.GetRequest{}, &pb.Order{}
	return func(ctx context.Context) error { return i(ctx, getMethod, req, reply, nil, invoker) }
}

func BenchmarkUnary(b *testing.B)     { benchmarkUnary(b, invokeNothing) }
func BenchmarkUnaryDone(b *testing.B) { benchmarkUnary(b, invokeDone) }

// benchmarkUnary reports as timeouts/op how many times the cost of
// context.WithTimeout a call has, measured in turns with it.
func benchmarkUnary(b *testing.B, invoker grpc.UnaryInvoker) {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	unit := over(invoker, underTimeout(bareUnary))
	for _, s := range unaryStacks() {
		call := over(invoker, s.interceptor)
		b.Run(s.what+"/"+s.library, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := call(ctx); (err != nil) != s.rejects {
					b.Fatalf("the call returned %v", err)
				}
			}
			b.ReportMetric(inTurns(ctx, call, unit, 1000), "timeouts/op")
		})
	}
}

// inTurns returns how many times the cost of unit call has: the median of many
// turns in which each is made n times, so that whatever else the machine does
// hits both.
func inTurns(ctx context.Context, call, unit func(context.Context) error, n int) float64 {
	took := func(f func(context.Context) error) float64 {
		begun := time.Now()
		for range n {
			_ = f(ctx)
		}
		return float64(time.Since(begun))
	}
	ratios := make([]float64, 101)
	for i := range ratios {
		ratios[i] = took(call) / took(unit)
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}

// TestUnaryCost holds what a policy may add to a unary call.
func TestUnaryCost(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector has costs of its own")
	}
	const most, mostAllocs = 0.9, 3
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	call := over(invokeNothing, ours(timeout.Call(callLimit), ourRetry(), ourBreaker()))
	unit := over(invokeNothing, underTimeout(bareUnary))
	cost := inTurns(ctx, call, unit, 1000)
	for i := 0; cost > most && i < 200; i++ { // for half a minute: other work on the machine makes it dearer, and never cheaper
		cost = min(cost, inTurns(ctx, call, unit, 1000))
	}
	allocs := testing.AllocsPerRun(1000, func() { _ = call(ctx) })
	t.Logf("retry+breaker+timeout: %.2f of context.WithTimeout, %v allocations", cost, allocs)
	if cost > most || allocs > mostAllocs {
		t.Errorf("a call costs %.2f of context.WithTimeout and %v allocations, want at most %v and %v", cost, allocs, most, mostAllocs)
	}
}

// A channelStack is what one library makes of a channel.
type channelStack struct {
	library string
	options func(l limits) []grpc.DialOption
}

// bareChannel is what the others are measured against.
var bareChannel = channelStack{"bare", func(limits) []grpc.DialOption { return nil }}

var channelStacks = []channelStack{
	{"backstay", backstayChannel},
	{"go-grpc-middleware", middlewareChannel},
	{"failsafegrpc", failsafeChannel},
	{"retryPolicy", retryPolicyChannel},
}

func backstayChannel(l limits) []grpc.DialOption {
	policy := backstay.New(timeout.Call(l.call), ourRetry(), ourBreaker(), timeout.Attempt(l.attempt))
	return grpccall.DialOptions(policy, grpccall.Config{})
}

// middlewareChannel has no breaker: go-grpc-middleware has none.
func middlewareChannel(l limits) []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithChainUnaryInterceptor(grpctimeout.UnaryClientInterceptor(l.call), middlewareUnary(l.attempt)),
		grpc.WithChainStreamInterceptor(grpcretry.StreamClientInterceptor(middlewareRetry(l.attempt)...)),
	}
}

// failsafeChannel leaves streams alone: failsafegrpc has nothing for them.
func failsafeChannel(l limits) []grpc.DialOption {
	return []grpc.DialOption{grpc.WithChainUnaryInterceptor(failsafeUnary(
		failsafetimeout.New[any](l.call), failsafeUnaryRetry(), failsafeUnaryBreaker(), failsafetimeout.New[any](l.attempt),
	))}
}

// retryPolicyChannel is gRPC's own, by service config, which has no timeout of
// an attempt.
func retryPolicyChannel(l limits) []grpc.DialOption {
	return []grpc.DialOption{grpc.WithDefaultServiceConfig(retryPolicy(attempts, l.call))}
}

func retryPolicy(attempts int, limit time.Duration) string {
	return fmt.Sprintf(`{"methodConfig": [{
		"name": [{"service": "orders.v1.Orders"}],
		"timeout": "%.3fs",
		"retryPolicy": {
			"maxAttempts": %d,
			"initialBackoff": "%.3fs", "maxBackoff": "%.3fs", "backoffMultiplier": 2,
			"retryableStatusCodes": ["UNAVAILABLE"]
		}
	}]}`, limit.Seconds(), attempts, firstPause.Seconds(), maxPause.Seconds())
}

// BenchmarkGRPC makes unary calls over loopback. It reports as bares/op how many
// times the cost of a bare call one has, measured in turns with it.
func BenchmarkGRPC(b *testing.B) {
	addr := serveOrders(b, &orders{})
	bare := getFrom(connect(b, addr))
	stacks := append([]channelStack{bareChannel, {"context.WithTimeout", func(l limits) []grpc.DialOption {
		return []grpc.DialOption{grpc.WithChainUnaryInterceptor(underTimeout(bareUnary))}
	}}}, channelStacks...)
	for _, s := range stacks {
		call := getFrom(connect(b, addr, s.options(usual)...))
		b.Run(s.library, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := call(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(inTurns(b.Context(), call, bare, 20), "bares/op")
		})
	}
}

// TestUnaryPeers keeps the benchmarks honest: each stack makes its call, or turns
// it away where that is what is measured.
func TestUnaryPeers(t *testing.T) {
	for _, s := range unaryStacks() {
		calls := 0
		err := over(func(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error {
			calls++
			return nil
		}, s.interceptor)(t.Context())
		if wanted := map[bool]int{false: 1}[s.rejects]; calls != wanted || (err != nil) != s.rejects {
			t.Errorf("%s/%s: %d calls and %v, want %d and an error: %v", s.what, s.library, calls, err, wanted, s.rejects)
		}
	}
}

// TestUnaryRetries shows that the stacks that are said to retry do, each as
// often.
func TestUnaryRetries(t *testing.T) {
	leak.Check(t)
	for _, s := range unaryStacks() {
		if !strings.Contains(s.what, "retry") {
			continue
		}
		t.Run(s.what+"/"+s.library, func(t *testing.T) {
			t.Parallel()
			calls := 0
			err := over(func(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error {
				if calls++; calls < attempts {
					return status.Error(codes.Unavailable, "busy")
				}
				return nil
			}, s.interceptor)(t.Context())
			if err != nil || calls != attempts {
				t.Errorf("the call returned %v after %d attempts, want nil after %d", err, calls, attempts)
			}
		})
	}
	for _, s := range channelStacks {
		t.Run("loopback/"+s.library, func(t *testing.T) {
			t.Parallel()
			o := &orders{answer: func(_ context.Context, n int) error {
				if n < attempts {
					return status.Error(codes.Unavailable, "busy")
				}
				return nil
			}}
			err := getFrom(connect(t, serveOrders(t, o), s.options(usual)...))(t.Context())
			if n := int(o.arrived.Load()); err != nil || n != attempts {
				t.Errorf("Get returned %v after %d attempts, want nil after %d", err, n, attempts)
			}
		})
	}
}

// orders is a server on loopback.
type orders struct {
	pb.UnimplementedOrdersServer
	arrived atomic.Int32 // calls, of which the functions are told the number from 1
	answer  func(ctx context.Context, n int) error
	stream  func(n int, s grpc.ServerStreamingServer[pb.Order]) error
}

func (o *orders) unary(ctx context.Context, id string) (*pb.Order, error) {
	n := int(o.arrived.Add(1))
	if o.answer != nil {
		if err := o.answer(ctx, n); err != nil {
			return nil, err
		}
	}
	return &pb.Order{Id: id}, nil
}

func (o *orders) Get(ctx context.Context, req *pb.GetRequest) (*pb.Order, error) {
	return o.unary(ctx, req.Id)
}

func (o *orders) Place(ctx context.Context, req *pb.PlaceRequest) (*pb.Order, error) {
	return o.unary(ctx, req.Item)
}

func (o *orders) Watch(_ *pb.WatchRequest, s grpc.ServerStreamingServer[pb.Order]) error {
	return o.stream(int(o.arrived.Add(1)), s)
}

func (o *orders) Import(s grpc.ClientStreamingServer[pb.PlaceRequest, pb.ImportResponse]) error {
	for n := int32(0); ; n++ {
		if _, err := s.Recv(); err != nil {
			return s.SendAndClose(&pb.ImportResponse{Placed: n})
		}
	}
}

// serveOrders starts a server on loopback and returns its address.
func serveOrders(tb testing.TB, o *orders, opts ...grpc.ServerOption) string {
	tb.Helper()
	addr, _ := stoppable(tb, o, opts...)
	return addr
}

// stoppable also returns what keeps the server from accepting further calls.
func stoppable(tb testing.TB, o *orders, opts ...grpc.ServerOption) (addr string, stop func()) {
	tb.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	srv := grpc.NewServer(opts...)
	pb.RegisterOrdersServer(srv, o)
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(lis) })
	tb.Cleanup(func() {
		srv.Stop()
		wg.Wait()
	})
	return lis.Addr().String(), func() {
		_ = lis.Close()
		wg.Go(srv.GracefulStop)
	}
}

func connect(tb testing.TB, addr string, opts ...grpc.DialOption) *grpc.ClientConn {
	tb.Helper()
	conn, err := grpc.NewClient(addr, append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	return conn
}

func getFrom(conn *grpc.ClientConn) func(context.Context) error {
	client := pb.NewOrdersClient(conn)
	return func(ctx context.Context) error {
		_, err := client.Get(ctx, &pb.GetRequest{Id: "7"})
		return err
	}
}

// backstay

func ours(stack ...backstay.Middleware) grpc.UnaryClientInterceptor {
	return grpccall.UnaryClientInterceptor(backstay.New(stack...), grpccall.Config{})
}

// go-grpc-middleware

func middlewareUnary(perAttempt time.Duration) grpc.UnaryClientInterceptor {
	return grpcretry.UnaryClientInterceptor(middlewareRetry(perAttempt)...)
}

func middlewareRetry(perAttempt time.Duration) []grpcretry.CallOption {
	return []grpcretry.CallOption{
		grpcretry.WithMax(attempts), // which counts the first
		grpcretry.WithBackoff(grpcretry.BackoffExponentialWithJitterBounded(firstPause, 0.1, maxPause)),
		grpcretry.WithPerRetryTimeout(perAttempt),
	}
}

// failsafegrpc

func failsafeUnary(policies ...failsafe.Policy[any]) grpc.UnaryClientInterceptor {
	return failsafegrpc.NewUnaryClientInterceptor(policies...)
}

func failsafeUnaryRetry() failsafe.Policy[any] {
	return failsafegrpc.NewRetryPolicyBuilder[any]().WithMaxAttempts(attempts).WithBackoff(firstPause, maxPause).Build()
}

func failsafeUnaryBreaker() circuitbreaker.CircuitBreaker[any] {
	return circuitbreaker.NewBuilder[any]().WithFailureRateThreshold(rate, minCalls, window).Build()
}

func failsafeOpenUnaryBreaker() failsafe.Policy[any] {
	b := failsafeUnaryBreaker()
	b.Open()
	return b
}

// What is written by hand.

func bareUnary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return invoker(ctx, method, req, reply, cc, opts...)
}

func underTimeout(next grpc.UnaryClientInterceptor) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		ctx, cancel := context.WithTimeout(ctx, callLimit)
		defer cancel()
		return next(ctx, method, req, reply, cc, invoker, opts...)
	}
}

func backedOffUnary(next grpc.UnaryClientInterceptor) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		return backoff.Retry(func() error {
			err := next(ctx, method, req, reply, cc, invoker, opts...)
			if err != nil && status.Code(err) != codes.Unavailable {
				return backoff.Permanent(err)
			}
			return err
		}, pauses(ctx))
	}
}

func brokenUnary(b *gobreaker.CircuitBreaker[int]) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		_, err := b.Execute(func() (int, error) { return 0, invoker(ctx, method, req, reply, cc, opts...) })
		return err
	}
}

func byHandUnary() grpc.UnaryClientInterceptor {
	return underTimeout(backedOffUnary(brokenUnary(bareBreaker())))
}
