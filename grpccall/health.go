package grpccall

import (
	"context"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// health says what is watched on each connection.
type health struct {
	service string
	off     bool
}

// A watch asks a server for its health, on one connection, as long as that
// lasts.
//
// Only the answer NOT_SERVING takes an endpoint out, and it stays out until the
// answer is another or the connection is lost. gRPC's own health check takes it
// out while there is no answer, and when the stream breaks, whatever the reason.
// That is for operators who have asked for it; ours is asked of any server, of
// which many have interceptors that turn it away, or proxies in front that end
// long streams.
type watch struct {
	service string
	tell    func(serving bool)
}

// Build starts the watch on a connection: it is a balancer.ProducerBuilder. The
// function that it returns blocks until the watch has ended.
func (w *watch) Build(conn any) (balancer.Producer, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.run(ctx, grpc_health_v1.NewHealthClient(conn.(grpc.ClientConnInterface)))
	}()
	return w, func() {
		cancel()
		<-ended
	}
}

func (w *watch) run(ctx context.Context, client grpc_health_v1.HealthClient) {
	for tries := 0; ; tries++ {
		heard, err := w.ask(ctx, client)
		switch {
		case ctx.Err() != nil:
			return
		case refused(err): // nobody would hear that it serves again
			w.tell(true)
			return
		}
		if heard {
			tries = 0
		}
		t := time.NewTimer(pause(tries))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

// ask tells what the server says, until the stream ends.
func (w *watch) ask(ctx context.Context, client grpc_health_v1.HealthClient) (heard bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := client.Watch(ctx, &grpc_health_v1.HealthCheckRequest{Service: w.service})
	if err != nil {
		return false, err
	}
	for {
		answer, err := stream.Recv()
		if err != nil {
			return heard, err
		}
		heard = true
		w.tell(answer.GetStatus() != grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	}
}

// refused reports whether the server will not tell its health on this
// connection, however often it is asked.
func refused(err error) bool {
	switch status.Code(err) {
	case codes.Unimplemented, codes.NotFound, codes.Unauthenticated, codes.PermissionDenied:
		return true
	}
	return false
}

// pause returns how long to wait after so many streams in a row that told
// nothing, which is gRPC's backoff for connections.
func pause(tries int) time.Duration {
	c := backoff.DefaultConfig
	d := float64(c.BaseDelay)
	for range tries {
		d = min(d*c.Multiplier, float64(c.MaxDelay))
	}
	return time.Duration(d * (1 + c.Jitter*(2*rand.Float64()-1)))
}
