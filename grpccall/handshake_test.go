package grpccall_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http/httptest"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/backstay-go/backstay"
	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/loadbalance"
	"github.com/backstay-go/backstay/retry"
)

// G-4
func TestAHandshakeThatFailsIsNotTriedAgain(t *testing.T) {
	leak.Check(t)
	certified := httptest.NewUnstartedServer(nil)
	certified.StartTLS()
	defer certified.Close()
	own := &tls.Config{Certificates: certified.TLS.Certificates}
	known := x509.NewCertPool()
	known.AddCert(certified.Certificate())

	rows := []struct {
		what   string
		server *tls.Config // nil for one without TLS
		client *tls.Config
		cut    bool // the server closes the connection when it is made
		want   []string
	}{
		{"well", own, &tls.Config{RootCAs: known}, false, []string{""}},
		{"an authority that nobody knows", own, &tls.Config{RootCAs: x509.NewCertPool()}, false, []string{"tls"}},
		{"another name", own, &tls.Config{RootCAs: known, ServerName: "elsewhere.test"}, false, []string{"tls"}},
		{"no common version", own, &tls.Config{RootCAs: known, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}, false, []string{"tls"}},
		{"a server without TLS", nil, &tls.Config{RootCAs: known}, false, []string{"tls"}},
		{"a connection that is cut", nil, &tls.Config{RootCAs: known}, true, []string{"UNAVAILABLE", "UNAVAILABLE", "UNAVAILABLE"}},
	}
	for _, row := range rows {
		var ends []string
		p := backstay.New(retry.New(retry.Config{Backoff: retry.NoPause()}), under(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
			err := next(ctx, call)
			ends = append(ends, backstay.TypeOf(err))
			if broken := backstay.Classify(err) == backstay.Broken; err != nil && broken == row.cut {
				t.Errorf("%s: Classify(%v) = %v, want broken: %t", row.what, err, backstay.Classify(err), !row.cut)
			}
			return err
		}))
		s := &server{}
		switch {
		case row.cut:
			s.addr = cutting(t)
		case row.server != nil:
			serve(t, s, grpc.Creds(credentials.NewTLS(row.server)))
		default:
			serve(t, s)
		}
		c := dial(t, s.addr, p, grpccall.Config{}, grpc.WithTransportCredentials(credentials.NewTLS(row.client)))
		_, err := c.Get(limited(t), &pb.GetRequest{})
		if !slices.Equal(ends, row.want) || row.want[0] != "" && status.Code(err) != codes.Unavailable {
			t.Errorf("%s: Get = %v after attempts that ended with %q, want %q", row.what, err, ends, row.want)
		}
	}
}

// G-4: the attempt goes to the endpoint whose certificate is for another name, as
// no endpoint is connected. The other one comes up thereafter.
func TestACallGoesElsewhereAfterAHandshakeThatFails(t *testing.T) {
	certified := httptest.NewUnstartedServer(nil)
	certified.StartTLS()
	defer certified.Close()
	known := x509.NewCertPool()
	known.AddCert(certified.Certificate())
	f := newFleet(t, 2, func(_ int, h *host) {
		h.opts = []grpc.ServerOption{grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: certified.TLS.Certificates}))}
	})
	good, bad := f.hosts[0], f.hosts[1]
	good.down()
	state := f.state(good, bad)
	state.Endpoints[0].Addresses[0].ServerName = "example.com"
	state.Endpoints[1].Addresses[0].ServerName = "elsewhere.test"
	f.resolver.InitialState(state)

	badFirst := loadbalance.Custom("the bad one first", func(_ context.Context, _ *backstay.Call, among []*loadbalance.Node) *loadbalance.Node {
		return among[len(among)-1]
	})
	var conn *grpc.ClientConn
	var ends []string
	p := backstay.New(
		retry.New(retry.Config{Backoff: retry.NoPause()}),
		loadbalance.NewBalancer(loadbalance.Config{Strategy: badFirst}),
		under(func(ctx context.Context, call *backstay.Call, next backstay.Func) error {
			err := next(ctx, call)
			if ends = append(ends, backstay.TypeOf(err)); len(ends) == 1 {
				good.up(t)
				eventually(t, "the good endpoint is connected", func() bool { return conn.GetState() == connectivity.Ready })
			}
			return err
		}))
	conn = f.connect(t, append(grpccall.DialOptions(p, grpccall.Config{}), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: known})))...)
	_, err := pb.NewOrdersClient(conn).Get(limited(t), &pb.GetRequest{})
	if want := []string{"tls", ""}; err != nil || !slices.Equal(ends, want) || good.count() != 1 {
		t.Errorf("Get = %v after attempts that ended with %q, %d of them at the good endpoint, want none after %q, 1 of them there", err, ends, good.count(), want)
	}
}

// G-4: by the texts of crypto/tls and gRPC, for what no test can bring about each
// time.
func TestWhichHandshakesAreNotTriedAgain(t *testing.T) {
	const failed = "connection error: desc = \"transport: authentication handshake failed: "
	rows := map[string]int{
		failed + "tls: failed to verify certificate: x509: certificate has expired or is not yet valid":    1,
		failed + "remote error: tls: bad certificate":                                                      1,
		failed + "credentials: cannot check peer: missing selected ALPN property":                          1,
		"connection error: desc = \"error reading server preface: remote error: tls: certificate required": 1,
		"connection error: desc = \"error reading server preface: remote error: tls: internal error":       3,
		"connection error: desc = \"error reading server preface: EOF":                                     3,
		failed + "remote error: tls: internal error":                                                       3,
		failed + "context deadline exceeded":                                                               3,
		failed + "read tcp 127.0.0.1:1->127.0.0.1:2: read: connection reset by peer":                       3,
		failed + "EOF": 3,
	}
	for text, want := range rows {
		attempts := 0
		unconnected := func(_ context.Context, _ string, _, _ any, _ *grpc.ClientConn, opts ...grpc.CallOption) error {
			attempts++
			err := status.Error(codes.Unavailable, text)
			for _, o := range opts {
				if o, ok := o.(grpc.OnFinishCallOption); ok {
					o.OnFinish(err)
				}
			}
			return err
		}
		_ = grpccall.UnaryClientInterceptor(again(), grpccall.Config{})(t.Context(), get, nil, new(int), nil, unconnected)
		if attempts != want {
			t.Errorf("%s: %d attempts, want %d", text, attempts, want)
		}
	}
}

// cutting returns the address of a server that closes every connection.
func cutting(t *testing.T) string {
	lis := listen(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := lis.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = lis.Close()
		<-done
	})
	return lis.Addr().String()
}
