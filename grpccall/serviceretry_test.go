package grpccall_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/loadbalance"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

// fourAttempts is a service config under which gRPC makes 4 attempts of Get, and
// of no other method.
const fourAttempts = `{"methodConfig": [{
	"name": [{"service": "orders.v1.Orders", "method": "Get"}],
	"retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.001s", "maxBackoff": "0.001s", "backoffMultiplier": 1, "retryableStatusCodes": ["UNAVAILABLE"]}
}]}`

// settled waits until the channel has its service config.
func settled(t *testing.T, conn *grpc.ClientConn, json string) {
	t.Helper()
	conn.Connect()
	if json != "" {
		eventually(t, "the channel has its service config", func() bool { return conn.GetMethodConfig(get).RetryPolicy != nil })
	}
}

// byResolver returns a resolver that finds the server, and its service config.
func byResolver(s *server) (target string, opt grpc.DialOption) {
	r := manual.NewBuilderWithScheme("found")
	r.BuildCallback = func(_ resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) {
		_ = cc.UpdateState(resolver.State{
			Endpoints:     []resolver.Endpoint{{Addresses: []resolver.Address{{Addr: s.addr}}}},
			ServiceConfig: cc.ParseServiceConfig(fourAttempts),
		})
	}
	return "found:///orders", grpc.WithResolvers(r)
}

// G-10: 3 attempts of the policy and 4 of gRPC are never 12.
func TestAServiceConfigThatRetriesIsNotMultiplied(t *testing.T) {
	rows := []struct {
		what   string
		retry  grpccall.ServiceRetry
		opts   []grpc.DialOption
		want   int // attempts of a call once the service config is known
		first  int // and of one before
		code   codes.Code
		policy int // attempts that the policy makes
	}{
		{"DeferToServiceConfig", grpccall.DeferToServiceConfig, nil, 4, 4, codes.Unavailable, 1},
		{"OwnRetry", grpccall.OwnRetry, nil, 3, 3, codes.Unavailable, 3},
		{"RefuseServiceRetry", grpccall.RefuseServiceRetry, nil, 0, 4, codes.FailedPrecondition, 0},
		{"OwnRetry beside WithDisableRetry", grpccall.OwnRetry, []grpc.DialOption{grpc.WithDisableRetry()}, 3, 3, codes.Unavailable, 3},
	}
	for _, by := range []string{"Config", "WithDefaultServiceConfig", "resolver"} {
		for _, row := range rows {
			s := unwell()
			leak.Check(t)
			serve(t, s)
			made := 0
			p := backstay.New(retry.New(retry.Config{Backoff: retry.NoPause()}), under(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
				made++
				return next(ctx, call)
			}))
			cfg, target, opts := grpccall.Config{ServiceRetry: row.retry}, s.addr, row.opts
			switch by {
			case "Config":
				cfg.ServiceConfig = fourAttempts
			case "WithDefaultServiceConfig":
				opts = append(opts, grpc.WithDefaultServiceConfig(fourAttempts))
			case "resolver":
				found, opt := byResolver(s)
				target, opts = found, append(opts, opt)
			}
			conn := connect(t, target, append(grpccall.DialOptions(p, cfg), opts...)...)
			c := pb.NewOrdersClient(conn)

			if _, err := c.Get(limited(t), &pb.GetRequest{}); len(s.attempts()) > row.first {
				t.Errorf("%s by %s: the first Get = %v after %d attempts, want %d", row.what, by, err, len(s.attempts()), row.first)
			}
			settled(t, conn, fourAttempts)
			before := len(s.attempts())
			made = 0
			_, err := c.Get(limited(t), &pb.GetRequest{})
			if got := len(s.attempts()) - before; got != row.want || made != row.policy || status.Code(err) != row.code {
				t.Errorf("%s by %s: Get = %v after %d attempts, %d of the policy, want %v after %d, %d of the policy",
					row.what, by, err, got, made, row.code, row.want, row.policy)
			}
			before = len(s.attempts())
			if _, err := c.Cancel(limited(t), &pb.CancelRequest{}); len(s.attempts())-before != 3 {
				t.Errorf("%s by %s: Cancel, of which gRPC makes one attempt, = %v after %d, want 3", row.what, by, err, len(s.attempts())-before)
			}
		}
	}
}

// G-10: nor is what no server has seen.
func TestAServiceConfigThatRetriesIsNotMultipliedWithoutAConnection(t *testing.T) {
	leak.Check(t)
	var ends []error
	p := backstay.New(retry.New(retry.Config{Backoff: retry.NoPause()}), under(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		err := next(ctx, call)
		ends = append(ends, err)
		return err
	}))
	c := dial(t, nobody(t), p, grpccall.Config{ServiceConfig: fourAttempts})
	if _, err := c.Get(limited(t), &pb.GetRequest{}); len(ends) != 1 || !backstay.NotSent(ends[0]) {
		t.Errorf("Get where nobody listens = %v after %d attempts of the policy, want 1, which was not sent", err, len(ends))
	}
	ends = nil
	if _, err := c.Cancel(limited(t), &pb.CancelRequest{}); len(ends) != 3 {
		t.Errorf("Cancel, which gRPC does not retry, where nobody listens = %v after %d attempts of the policy, want 3", err, len(ends))
	}
}

// G-10: the policy's own timeout of an attempt is the end of all of gRPC's.
func TestATimeoutAroundTheAttemptsOfGRPCIsNotTriedAgain(t *testing.T) {
	s := &server{get: func(ctx context.Context, n int, _ *pb.GetRequest) (*pb.Order, error) {
		if n == 1 {
			return nil, status.Error(codes.Unavailable, "sick")
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	p := backstay.New(retry.New(retry.Config{Backoff: retry.NoPause()}), timeout.Attempt(100*time.Millisecond))
	c := start(t, s, p, grpccall.Config{ServiceConfig: fourAttempts})
	if _, err := c.Get(limited(t), &pb.GetRequest{}); status.Code(err) != codes.DeadlineExceeded || len(s.attempts()) != 2 {
		t.Errorf("Get = %v after %d attempts, want DEADLINE_EXCEEDED after 2", err, len(s.attempts()))
	}
}

// That the last of gRPC's attempts was not sent says nothing of the one before.
func TestACallOfWhichGRPCHasSentAnAttemptWasSent(t *testing.T) {
	s := &server{}
	s.get = func(_ context.Context, n int, _ *pb.GetRequest) (*pb.Order, error) {
		go s.grpc.Stop()
		return nil, status.Error(codes.Unavailable, "sick")
	}
	var ends []error
	c := start(t, s, backstay.New(under(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
		err := next(ctx, call)
		ends = append(ends, err)
		return err
	})), grpccall.Config{ServiceConfig: fourAttempts})
	_, err := c.Get(limited(t), &pb.GetRequest{})
	if err == nil || slices.ContainsFunc(ends, backstay.NotSent) {
		t.Errorf("Get = %v; NotSent(%v) = true after an attempt that was sent, want false", err, ends)
	}
}

func TestWhatAnInterceptorAloneCannotDo(t *testing.T) {
	for what, cfg := range map[string]grpccall.Config{
		"OwnRetry":        {ServiceRetry: grpccall.OwnRetry},
		"a ServiceConfig": {ServiceConfig: "{}"},
	} {
		for name, make := range map[string]func(){
			"UnaryClientInterceptor":  func() { grpccall.UnaryClientInterceptor(again(), cfg) },
			"StreamClientInterceptor": func() { grpccall.StreamClientInterceptor(again(), cfg) },
		} {
			if r := panicIn(make); r == nil {
				t.Errorf("%s with %s did not panic", name, what)
			}
		}
	}
}

// Under a policy with a balancer, what the service config tries again goes where
// the call has not been, as under gRPC's own balancers.
//
// G-10, L-23
func TestTheRetriesOfAServiceConfigGoElsewhere(t *testing.T) {
	f := newFleet(t, 2, nil)
	b := loadbalance.NewBalancer(loadbalance.Config{
		Strategy: loadbalance.RoundRobin(),
		Health:   loadbalance.HealthConfig{ConsecutiveFailures: loadbalance.Never, FailureRate: loadbalance.Never},
	})
	p := backstay.New(retry.New(retry.Config{}), b)
	client := pb.NewOrdersClient(f.connect(t, grpccall.DialOptions(p, grpccall.Config{NoHealth: true, ServiceConfig: fourAttempts})...))
	f.reach(t, client, f.hosts...)
	f.hosts[0].get = func(context.Context, int, *pb.GetRequest) (*pb.Order, error) {
		return nil, status.Error(codes.Unavailable, "sick")
	}
	before := f.counts()
	for range 20 {
		mustGet(t, client)
	}
	if got := f.since(before); got[0] != 10 || got[1] != 20 {
		t.Errorf("the sick host and the well one were asked %v times for 20 calls, want 10 and 20", got)
	}
	for _, n := range b.Nodes() {
		if n.InFlight() != 0 {
			t.Errorf("%d calls are in flight at %s afterwards, want none", n.InFlight(), n.Address())
		}
	}
}
