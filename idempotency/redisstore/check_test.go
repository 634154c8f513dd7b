package redisstore_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/backstay-go/backstay/idempotency/redisstore"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/internal/services"
)

func TestCheck(t *testing.T) {
	leak.Check(t)
	host, port, _ := net.SplitHostPort(services.OwnRedis(t).Addr())
	for _, row := range []struct {
		name string
		args []string
		want string // in the error
	}{
		{"a good server", nil, ""},
		{"one that evicts", []string{"--maxmemory-policy", "volatile-lru"}, "maxmemory-policy is volatile-lru"},
		{"a replica", []string{"--replicaof", host, port}, "use the address of the master"},
		{"one where INFO is forbidden", []string{"--user", "default", "on", "nopass", "~*", "+@all", "-info"}, "does not tell"},
		{"one where CONFIG is forbidden", []string{"--user", "default", "on", "nopass", "~*", "+@all", "-config"}, ""},
	} {
		err := newStore(connect(t, services.OwnRedis(t, row.args...))).Check(t.Context())
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("Check of %s = %v, want an error with %q", row.name, err, row.want)
		}
		if unchecked := strings.Contains(row.want, "tell"); errors.Is(err, redisstore.ErrUnchecked) != unchecked {
			t.Errorf("Check of %s = %v, want ErrUnchecked: %t", row.name, err, unchecked)
		}
	}
}

func TestCheckEndsWithItsContext(t *testing.T) {
	leak.Check(t)
	proxy := services.NewProxy(t, services.Redis(t).Addr())
	s := newStore(connect(t, services.Redis(t), through(proxy)))
	if err := s.Check(t.Context()); err != nil { // connects
		t.Fatalf("Check = %v, want nil", err)
	}
	proxy.Hang()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	begun := time.Now()
	err := s.Check(ctx)
	if took := time.Since(begun); !errors.Is(err, context.DeadlineExceeded) || took > 2*time.Second {
		t.Errorf("Check of a hung server = %v after %v, want context.DeadlineExceeded at once", err, took)
	}
}
