package grpccall

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
)

// deposed reports whether the gRPC channel has another balancer, which would send
// anywhere what the policy's has picked.
func (c *channel) deposed(ctx context.Context) bool {
	conn := c.conn.Load()
	if c.attached.Load() != nil || conn == nil || conn.GetState() != connectivity.Ready {
		return false
	}
	// A channel that is about to be idle loses its balancer first.
	ctx, cancel := context.WithTimeout(ctx, aboutTo)
	defer cancel()
	return !conn.WaitForStateChange(ctx, connectivity.Ready) && c.attached.Load() == nil
}

var errDeposed = &backstay.Error{
	Err: status.Error(codes.FailedPrecondition, "grpccall: the service config of the channel does not choose the balancer of the policy, so that cannot pick: "+
		"give Config.ServiceConfig in place of grpc.WithDefaultServiceConfig, and add grpc.WithDisableServiceConfig where the resolver brings another"),
	Class:   backstay.Permanent,
	NotSent: true,
	Type:    noEndpoint,
}
