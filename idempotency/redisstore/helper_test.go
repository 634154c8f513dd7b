package redisstore_test

import (
	"crypto/rand"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/idempotency/redisstore"
	"github.com/backstay-go/backstay/internal/services"
)

// connect returns a client of server with the options of its URL, changed by
// the functions.
func connect(t testing.TB, server *services.Server, change ...func(*redis.Options)) *redis.Client {
	t.Helper()
	opt, err := redis.ParseURL(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range change {
		c(opt)
	}
	client := redis.NewClient(opt)
	t.Cleanup(func() { client.Close() })
	return client
}

// through is what has a client dial a proxy to its server.
func through(p *services.Proxy) func(*redis.Options) {
	return func(o *redis.Options) { o.Addr = p.Addr() }
}

// newStore returns a Store with keys of its own.
func newStore(client redis.UniversalClient) *redisstore.Store {
	return redisstore.New(client, redisstore.Config{Prefix: services.Name() + ":"})
}

// newClaim returns a claim to a new ID.
func newClaim() idempotency.Claim {
	c := idempotency.Claim{Fingerprint: sha256.Sum256([]byte("a request")), Fence: idempotency.NewFence(), Lease: time.Minute, TTL: time.Hour}
	_, _ = rand.Read(c.ID[:])
	return c
}

// rival returns the claim of another to the same.
func rival(c idempotency.Claim) idempotency.Claim {
	c.Fence = idempotency.NewFence()
	return c
}

// claim fails the test unless the answer to c has the state.
func claim(t testing.TB, s *redisstore.Store, c idempotency.Claim, want idempotency.State) idempotency.Answer {
	t.Helper()
	a, err := s.Claim(t.Context(), c)
	if err != nil || a.State != want {
		t.Fatalf("Claim = %v, %v, want %v", a.State, err, want)
	}
	return a
}

// go-redis tells of each connection that it cannot make.
func init() { logging.Disable() }
