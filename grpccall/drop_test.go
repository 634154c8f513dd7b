package grpccall_test

import (
	"errors"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/base"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/retry"
)

func init() {
	balancer.Register(dropping{base.NewBalancerBuilder("dropping", drops{}, base.Config{}), "dropping"})
	balancer.Register(dropping{base.NewBalancerBuilder("failing", drops{}, base.Config{}), "failing"})
}

// dropping is a balancer whose picks all fail, as drops or for want of a
// connection.
type dropping struct {
	balancer.Builder
	name string
}

func (d dropping) Name() string { return d.name }

func (d dropping) Build(cc balancer.ClientConn, opts balancer.BuildOptions) balancer.Balancer {
	return d.Builder.Build(dropper{cc, d.name}, opts)
}

// picks counts those of each balancer.
var picks = map[string]int{}

type dropper struct {
	balancer.ClientConn
	name string
}

func (d dropper) UpdateState(s balancer.State) {
	s.Picker = d
	d.ClientConn.UpdateState(s)
}

func (d dropper) Pick(balancer.PickInfo) (balancer.PickResult, error) {
	picks[d.name]++
	if d.name == "dropping" {
		return balancer.PickResult{}, status.Error(codes.Unavailable, "RPC is dropped")
	}
	return balancer.PickResult{}, errors.New("no connection")
}

type drops struct{}

func (drops) Build(base.PickerBuildInfo) balancer.Picker {
	return base.NewErrPicker(balancer.ErrNoSubConnAvailable)
}

// G-25
func TestACallThatIsDroppedIsNotTriedAgain(t *testing.T) {
	for _, row := range []struct {
		balancer string
		want     int
	}{
		{"dropping", 1},
		{"failing", 3},
	} {
		b := breaker.New(breaker.Config{ConsecutiveFailures: 1})
		p := backstay.New(retry.New(retry.Config{Backoff: retry.NoPause()}), b)
		if row.balancer == "failing" {
			p = backstay.New(retry.New(retry.Config{Backoff: retry.NoPause()}))
		}
		picks[row.balancer] = 0
		c := dial(t, serve(t, &server{}).addr, p, grpccall.Config{}, grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"`+row.balancer+`":{}}]}`))
		_, err := c.Get(limited(t), &pb.GetRequest{})
		if got := picks[row.balancer]; status.Code(err) != codes.Unavailable || got != row.want || b.State() != breaker.Closed {
			t.Errorf("%s: Get = %v after %d picks, the breaker is %v; want UNAVAILABLE after %d, and closed", row.balancer, err, got, b.State(), row.want)
		}
	}
}
