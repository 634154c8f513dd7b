package redisstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/backstay-go/backstay/idempotency"
)

// Config describes a Store. The zero value is fit for production.
type Config struct {
	// Prefix begins the names of the Store's keys in Redis; the ID in hexadecimal
	// digits follows. Programs that share a Redis but not their idempotency keys
	// have prefixes of their own. "" means "idempotency:".
	Prefix string
}

// Validate reports what is wrong with the config.
func (c Config) Validate() error {
	if strings.ContainsAny(c.Prefix, "{}") {
		return fmt.Errorf("redisstore: the prefix %q has braces, which put all keys of a cluster into one slot; give one that ends in a colon", c.Prefix)
	}
	return nil
}

// A Store keeps idempotency keys in Redis. It is safe for concurrent use. Make
// it with New.
//
// Its methods return when their context ends, whatever the options of the
// client. An operation that was sent by then may still be done. Errors wrap
// what go-redis says; whatever is wrong with the server or with what it holds
// is an error, and never Claimed.
//
// A client may send an operation again by itself, up to its MaxRetries, when an
// answer does not come. That does no harm; only a Release of which the first
// answer was lost says ErrLeaseLost.
type Store struct {
	client redis.UniversalClient
	prefix string
}

var _ idempotency.Store = (*Store)(nil)

// New returns a Store in the Redis of client, which may be a server, one found
// by sentinels, or a cluster. The Store does not close the client.
//
// It panics if cfg is not valid, or if client is nil or a redis.Ring: when a
// shard of a ring is down its keys go to another, which knows nothing of them.
func New(client redis.UniversalClient, cfg Config) *Store {
	if err := cfg.Validate(); err != nil {
		panic(err.Error())
	}
	if client == nil {
		panic("redisstore: no client; make one with redis.NewUniversalClient")
	}
	if _, ok := client.(*redis.Ring); ok {
		panic("redisstore: a redis.Ring forgets the keys of a shard that is down; use a cluster or sentinels")
	}
	if cfg.Prefix == "" {
		cfg.Prefix = "idempotency:"
	}
	return &Store{client: client, prefix: cfg.Prefix}
}

// Claim asks for the work of c.ID. See idempotency.Store.
func (s *Store) Claim(ctx context.Context, c idempotency.Claim) (idempotency.Answer, error) {
	reply, err := s.run(ctx, claimScript, s.key(c),
		c.Fingerprint[:], c.Fence[:], millis(c.Lease), ttl(c), c.Takeover)
	if err != nil {
		return idempotency.Answer{}, failed("claim", err)
	}
	a, ok := answer(reply)
	if !ok {
		return idempotency.Answer{}, failed("claim", errReply)
	}
	return a, nil
}

// Renew begins a new lease and TTL. See idempotency.Store.
func (s *Store) Renew(ctx context.Context, c idempotency.Claim) error {
	return s.own(ctx, "renew", renewScript, c, millis(c.Lease), ttl(c))
}

// Complete keeps the result of the work. See idempotency.Store.
func (s *Store) Complete(ctx context.Context, c idempotency.Claim, record []byte) error {
	// A copy: when ctx ends, the client may still be writing.
	return s.own(ctx, "complete", completeScript, c, ttl(c), string(record))
}

// Release removes the record. See idempotency.Store.
func (s *Store) Release(ctx context.Context, c idempotency.Claim) error {
	return s.own(ctx, "release", releaseScript, c)
}

// own runs a script that only the owner of the record may run.
func (s *Store) own(ctx context.Context, what string, script *redis.Script, c idempotency.Claim, args ...any) error {
	reply, err := s.run(ctx, script, s.key(c), append([]any{c.Fence[:]}, args...)...)
	if err != nil {
		return failed(what, err)
	}
	switch reply {
	case int64(1):
		return nil
	case int64(0):
		return idempotency.ErrLeaseLost
	}
	return failed(what, errReply)
}

func (s *Store) key(c idempotency.Claim) string { return s.prefix + c.ID.String() }

// ttl is how long the server keeps the record, in milliseconds. Without a
// lifetime it would be gone at once, and the next claim would get the work too.
func ttl(c idempotency.Claim) int64 { return max(millis(c.TTL), millis(c.Lease), 1) }

// millis returns d in milliseconds, rounded up unless no Duration is as long.
func millis(d time.Duration) int64 {
	ms := d.Milliseconds()
	if d%time.Millisecond > 0 && ms < math.MaxInt64/int64(time.Millisecond) {
		ms++
	}
	return ms
}

// stateOf returns the state that claim.lua calls so, or none.
func stateOf(name string) idempotency.State {
	for s := idempotency.Claimed; s <= idempotency.Abandoned; s++ {
		if s.String() == name {
			return s
		}
	}
	return 0
}

// answer reads what claim.lua returns: the state, and what belongs to it.
func answer(reply any) (a idempotency.Answer, ok bool) {
	fields, _ := reply.([]any)
	if len(fields) == 0 {
		return a, false
	}
	name, _ := fields[0].(string)
	a.State = stateOf(name)
	if a.State == 0 || len(fields) == 1 {
		return a, a.State != 0
	}
	switch v := fields[1].(type) {
	case int64:
		a.LeaseLeft = time.Duration(v) * time.Millisecond
	case string:
		a.Record = []byte(v)
	}
	return a, true
}

var errReply = errors.New("not the answer of this script")

func failed(what string, err error) error { return fmt.Errorf("redisstore: %s: %w", what, err) }
