package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// ErrUnchecked is what Check returns of a server that does not tell its
// settings, as some that are managed by others do not. Ask whoever manages it.
var ErrUnchecked = errors.New("redisstore: the server does not tell its settings")

// oldest is the first version of Redis whose scripts may ask for the time before
// they write.
const oldest = 5

// Check reports whether the server, or each master of a cluster, can be trusted
// with keys: that it does not evict them when its memory is full, that it is not
// a replica, and that it is not older than Redis 5. A program calls it as it
// starts. The error says what to change; errors.Is(err, ErrUnchecked) tells
// apart that there is nothing known to be wrong.
//
// It asks by INFO, since CONFIG is often forbidden. INFO does not tell all that
// matters: see the documentation of the package.
func (s *Store) Check(ctx context.Context) error {
	_, err := await(ctx, func() (struct{}, error) { return struct{}{}, s.check(ctx) })
	if err == nil || errors.Is(err, ErrUnchecked) {
		return err
	}
	return failed("check", err)
}

func (s *Store) check(ctx context.Context) error {
	cluster, ok := s.client.(*redis.ClusterClient)
	if !ok {
		return checkServer(ctx, s.client)
	}
	return cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
		return checkServer(ctx, master)
	})
}

func checkServer(ctx context.Context, client redis.Cmdable) error {
	said, err := client.Info(ctx).Result()
	if redis.HasErrorPrefix(err, "NOPERM") || redis.HasErrorPrefix(err, "unknown command") {
		return fmt.Errorf("%w: %w", ErrUnchecked, err)
	}
	if err != nil {
		return err
	}
	return checkInfo(said)
}

// checkInfo judges what INFO says, in lines such as "role:master".
func checkInfo(said string) error {
	info := map[string]string{}
	for line := range strings.Lines(said) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		info[name] = value
	}
	version, policy, role := info["redis_version"], info["maxmemory_policy"], info["role"]
	major, _, _ := strings.Cut(version, ".")
	switch n, err := strconv.Atoi(major); {
	case err == nil && n < oldest:
		return fmt.Errorf("it is Redis %s; use %d or newer", version, oldest)
	case role != "" && role != "master":
		return fmt.Errorf("it is a %s; use the address of the master", role)
	case policy != "" && policy != "noeviction":
		return fmt.Errorf("maxmemory-policy is %s, by which it forgets keys when its memory is full; set it to noeviction", policy)
	case err != nil || role == "" || policy == "":
		return ErrUnchecked
	}
	return nil
}
