package redisstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/idempotency/redisstore"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/internal/services"
)

// I-12
func TestOneOfManyClientsWins(t *testing.T) {
	leak.Check(t)
	prefix := services.Name()
	var stores []*redisstore.Store
	for range 5 {
		stores = append(stores, redisstore.New(connect(t, services.Redis(t)), redisstore.Config{Prefix: prefix}))
	}
	for range 20 {
		c := newClaim()
		var claimed, others atomic.Int32
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				switch a, err := stores[i%len(stores)].Claim(t.Context(), rival(c)); {
				case err != nil:
					t.Errorf("Claim = %v", err)
				case a.State == idempotency.Claimed:
					claimed.Add(1)
				case a.State == idempotency.InProgress:
					others.Add(1)
				}
			})
		}
		wg.Wait()
		if claimed.Load() != 1 || others.Load() != 49 {
			t.Fatalf("%d of 50 claims are Claimed and %d InProgress, want 1 and 49", claimed.Load(), others.Load())
		}
	}
}

func TestRecordIsBinary(t *testing.T) {
	leak.Check(t)
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for _, protocol := range []int{2, 3} {
		s := newStore(connect(t, services.Redis(t), func(o *redis.Options) { o.Protocol = protocol }))
		for _, record := range [][]byte{every, bytes.Repeat(every, 4096), {0}, []byte("\r\n"), {}, nil} {
			c := newClaim()
			copy(c.Fingerprint[:], every)
			copy(c.Fence[:], "\x00\r\n\xff")
			claim(t, s, c, idempotency.Claimed)
			if err := s.Complete(t.Context(), c, record); err != nil {
				t.Fatalf("Complete(%d bytes) = %v, want nil", len(record), err)
			}
			a := claim(t, s, rival(c), idempotency.Done)
			if a.Record == nil || !bytes.Equal(a.Record, record) {
				t.Errorf("RESP%d: Claim returns a record of %d bytes, want the %d of Complete", protocol, len(a.Record), len(record))
			}
		}
	}
}

func TestRecordThatIsGoneIsNil(t *testing.T) {
	leak.Check(t)
	client := connect(t, services.Redis(t))
	s, c := redisstore.New(client, redisstore.Config{}), newClaim()
	claim(t, s, c, idempotency.Claimed)
	if err := s.Complete(t.Context(), c, []byte("a result")); err != nil {
		t.Fatal(err)
	}
	client.HDel(t.Context(), "idempotency:"+c.ID.String(), "record")
	if a := claim(t, s, c, idempotency.Done); a.Record != nil {
		t.Errorf("Claim returns the record %q, want nil", a.Record)
	}
}

// What is not answered is sent again, so the second time must be as good as the
// first, and what comes late must not matter.
func TestCompleteRecordStaysAsItIs(t *testing.T) {
	leak.Check(t)
	client := connect(t, services.Redis(t))
	prefix := services.Name()
	s, c := redisstore.New(client, redisstore.Config{Prefix: prefix}), newClaim()
	c.TTL = 2 * time.Minute
	claim(t, s, c, idempotency.Claimed)
	if err := s.Complete(t.Context(), c, []byte("first")); err != nil {
		t.Fatalf("Complete = %v, want nil", err)
	}
	c.TTL = time.Hour
	if err := s.Complete(t.Context(), c, []byte("second")); err != nil {
		t.Errorf("Complete once more = %v, want nil", err)
	}
	if err := s.Renew(t.Context(), c); err != nil {
		t.Errorf("Renew of a complete record = %v, want nil", err)
	}
	if a := claim(t, s, c, idempotency.Done); string(a.Record) != "first" {
		t.Errorf("Claim returns the record %q, want %q", a.Record, "first")
	}
	if left := client.PTTL(t.Context(), prefix+c.ID.String()).Val(); left > 2*time.Minute {
		t.Errorf("Redis keeps the record for %v, want the 2m of the first Complete", left)
	}
}

func TestServerForgetsAfterTTL(t *testing.T) {
	leak.Check(t)
	client := connect(t, services.Redis(t))
	prefix := services.Name()
	s := redisstore.New(client, redisstore.Config{Prefix: prefix})
	ctx := t.Context()
	for _, row := range []struct {
		name          string
		lease, ttl    time.Duration
		least, atMost time.Duration
	}{
		{"an hour", time.Minute, time.Hour, 59 * time.Minute, time.Hour},
		{"less than the lease", time.Minute, time.Second, 59 * time.Second, time.Minute},
		{"for ever", math.MaxInt64, math.MaxInt64, math.MaxInt64 - time.Minute, math.MaxInt64},
	} {
		for name, last := range map[string]func(idempotency.Claim) error{
			"Claim":    func(idempotency.Claim) error { return nil },
			"Renew":    func(c idempotency.Claim) error { return s.Renew(ctx, c) },
			"Complete": func(c idempotency.Claim) error { return s.Complete(ctx, c, []byte("a result")) },
		} {
			c := newClaim()
			claim(t, s, c, idempotency.Claimed)
			c.Lease, c.TTL = row.lease, row.ttl
			if name == "Claim" {
				claim(t, s, c, idempotency.Claimed)
			}
			if err := last(c); err != nil {
				t.Errorf("%s with a TTL of %s = %v, want nil", name, row.name, err)
			}
			left, err := client.Do(ctx, "PTTL", prefix+c.ID.String()).Int64()
			if err != nil || left < row.least.Milliseconds() || left > row.atMost.Milliseconds() {
				t.Errorf("after %s with a TTL of %s Redis keeps the record for %d ms, %v, want %v to %v", name, row.name, left, err, row.least, row.atMost)
			}
		}
	}
}

// A record without a TTL would be gone at once, and the work be everybody's.
func TestShortTTLIsRoundedUp(t *testing.T) {
	leak.Check(t)
	client := connect(t, services.Redis(t))
	prefix := services.Name()
	s := redisstore.New(client, redisstore.Config{Prefix: prefix})
	for _, row := range []struct {
		ttl  time.Duration
		want int64 // in ms
	}{{0, 1}, {1, 1}, {1001 * time.Microsecond, 2}} {
		services.Eventually(t, func() error { // a millisecond may have passed
			c := newClaim()
			c.Lease, c.TTL = 0, row.ttl
			claim(t, s, c, idempotency.Claimed)
			left, err := client.Do(t.Context(), "PTTL", prefix+c.ID.String()).Int64()
			if err != nil || left != row.want {
				return fmt.Errorf("with a TTL of %v Redis keeps the record for %d ms, %v, want %d", row.ttl, left, err, row.want)
			}
			return nil
		})
	}
}

// Whatever holds something else is left as it is, and nobody gets the work.
func TestWhatIsNotARecordIsAnError(t *testing.T) {
	leak.Check(t)
	client := connect(t, services.Redis(t))
	prefix := services.Name()
	s := redisstore.New(client, redisstore.Config{Prefix: prefix})
	ctx := t.Context()
	c := newClaim()
	key := prefix + c.ID.String()
	print, fence := string(c.Fingerprint[:]), string(c.Fence[:])
	for _, row := range []struct {
		name string
		put  func()
	}{
		{"a string", func() { client.Set(ctx, key, "x", 0) }},
		{"a list", func() { client.RPush(ctx, key, "x") }},
		{"another hash", func() { client.HSet(ctx, key, "x", "y") }},
		{"no fence", func() { client.HSet(ctx, key, "fingerprint", print, "lease", 1) }},
		{"no fingerprint", func() { client.HSet(ctx, key, "fence", fence, "lease", 1) }},
		{"no lease", func() { client.HSet(ctx, key, "fingerprint", print, "fence", fence) }},
		{"a lease that is no number", func() { client.HSet(ctx, key, "fingerprint", print, "fence", fence, "lease", "soon") }},
		{"done without a lease", func() { client.HSet(ctx, key, "fingerprint", print, "fence", fence, "done", 1) }},
	} {
		client.Del(ctx, key)
		row.put()
		before := client.Dump(ctx, key).Val()
		c.Takeover = true
		if a, err := s.Claim(ctx, c); err == nil || a.State != 0 {
			t.Errorf("%s: Claim = %v, %v, want an error", row.name, a.State, err)
		}
		if after := client.Dump(ctx, key).Val(); after != before {
			t.Errorf("%s: Claim changed what is there", row.name)
		}
		o := rival(c)
		for what, err := range map[string]error{"Renew": s.Renew(ctx, o), "Complete": s.Complete(ctx, o, nil), "Release": s.Release(ctx, o)} {
			if err == nil {
				t.Errorf("%s: %s = nil, want an error", row.name, what)
			}
		}
		if after := client.Dump(ctx, key).Val(); after != before {
			t.Errorf("%s: one who is not the owner changed what is there", row.name)
		}
	}
}

func TestErrorsDoNotTellTheRecord(t *testing.T) {
	leak.Check(t)
	client := connect(t, services.Redis(t))
	s, c := newStore(client), newClaim()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := s.Complete(ctx, c, []byte("secret"))
	if !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "secret") {
		t.Errorf("Complete with an ended context = %v, want context.Canceled without the record", err)
	}
}

func TestNewRefuses(t *testing.T) {
	client := connect(t, services.Redis(t))
	ring := redis.NewRing(&redis.RingOptions{})
	defer ring.Close()
	for _, row := range []struct {
		name   string
		client redis.UniversalClient
		cfg    redisstore.Config
		want   string
	}{
		{"braces", client, redisstore.Config{Prefix: "{orders}:"}, "a colon"},
		{"no client", nil, redisstore.Config{}, "redis.NewUniversalClient"},
		{"a ring", ring, redisstore.Config{}, "use a cluster"},
	} {
		func() {
			defer func() {
				if p, _ := recover().(string); !strings.Contains(p, row.want) {
					t.Errorf("New with %s panics with %q, want one that says %q", row.name, p, row.want)
				}
			}()
			redisstore.New(row.client, row.cfg)
		}()
	}
}
