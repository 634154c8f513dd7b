package redisstore

import (
	"context"
	_ "embed"

	"github.com/redis/go-redis/v9"
)

// Each operation is one script over one key, so it is atomic, one round trip,
// and at home in one slot of a cluster.
var (
	//go:embed claim.lua
	claimLua string
	//go:embed renew.lua
	renewLua string
	//go:embed complete.lua
	completeLua string
	//go:embed release.lua
	releaseLua string

	claimScript    = redis.NewScript(claimLua)
	renewScript    = redis.NewScript(renewLua)
	completeScript = redis.NewScript(completeLua)
	releaseScript  = redis.NewScript(releaseLua)
)

// run has the server run a script, by its hash, or by its text if the server
// has not seen it since it was started.
func (s *Store) run(ctx context.Context, script *redis.Script, key string, args ...any) (any, error) {
	return await(ctx, func() (any, error) {
		return script.Run(ctx, s.client, []string{key}, args...).Result()
	})
}

// await returns what f returns, or the error of ctx as soon as it ends.
//
// A go-redis client looks at the deadline while it waits for an answer only if
// it has ContextTimeoutEnabled, and at cancellation never. So f has a goroutine
// of its own, which is left behind when ctx ends. It is gone when the answer is
// there or the client's ReadTimeout has passed: since ctx has ended, the client
// does not try again. There are no more of them than the client has connections.
func await[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		val T
		err error
	}
	if err := ctx.Err(); err != nil {
		return *new(T), err
	}
	done := make(chan result, 1)
	go func() {
		val, err := f()
		done <- result{val, err}
	}()
	select {
	case r := <-done:
		return r.val, r.err
	case <-ctx.Done():
		return *new(T), ctx.Err()
	}
}
