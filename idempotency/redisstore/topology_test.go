package redisstore_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/internal/services"
)

// A master that is asked for a replica waits 5 s for more of them, unless told
// otherwise.
var noDelay = []string{"--repl-diskless-sync-delay", "0"}

// node starts a Redis that has slots of a cluster.
func node(t *testing.T, slots ...int) (*services.Server, *redis.Client) {
	t.Helper()
	server := services.OwnRedis(t, append(noDelay, "--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1")...)
	client := connect(t, server)
	if len(slots) > 0 {
		if err := client.ClusterAddSlotsRange(t.Context(), slots[0], slots[1]).Err(); err != nil {
			t.Fatal(err)
		}
	}
	return server, client
}

// meet makes two nodes a cluster.
func meet(t *testing.T, one, two *redis.Client) {
	t.Helper()
	host, port, _ := net.SplitHostPort(two.Options().Addr)
	if err := one.ClusterMeet(t.Context(), host, port).Err(); err != nil {
		t.Fatal(err)
	}
	for _, client := range []*redis.Client{one, two} {
		services.Eventually(t, func() error {
			info, err := client.ClusterInfo(t.Context()).Result()
			if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:2") {
				return errors.Join(err, errors.New("no cluster yet: "+info))
			}
			return nil
		})
	}
}

// clusterClient returns a client that is told one node of a cluster.
func clusterClient(t *testing.T, seed *services.Server, change ...func(*redis.ClusterOptions)) *redis.ClusterClient {
	t.Helper()
	opt := &redis.ClusterOptions{Addrs: []string{seed.Addr()}}
	for _, c := range change {
		c(opt)
	}
	client := redis.NewClusterClient(opt)
	t.Cleanup(func() { client.Close() })
	return client
}

func TestClusterOfTwo(t *testing.T) {
	leak.Check(t)
	ctx := t.Context()
	server, one := node(t, 0, 8191)
	_, two := node(t, 8192, 16383)
	meet(t, one, two)
	s := newStore(clusterClient(t, server))

	for range 50 {
		for _, op := range operations(ctx, s) {
			if err := op.do(); err != nil {
				t.Fatalf("%s = %v", op.name, err)
			}
		}
	}
	for i, client := range []*redis.Client{one, two} {
		if n := client.DBSize(ctx).Val(); n < 10 {
			t.Errorf("node %d has %d of 50 keys, want about a half", i, n)
		}
	}

	if err := s.Check(ctx); err != nil {
		t.Errorf("Check = %v, want nil", err)
	}
	for i, client := range []*redis.Client{one, two} {
		client.ConfigSet(ctx, "maxmemory-policy", "allkeys-lru")
		if err := s.Check(ctx); err == nil || !strings.Contains(err.Error(), "allkeys-lru") {
			t.Errorf("Check while node %d evicts = %v, want an error with its maxmemory-policy", i, err)
		}
		client.ConfigSet(ctx, "maxmemory-policy", "noeviction")
	}
}

// A client that reads from replicas still claims at the master.
func TestClaimsGoToTheMaster(t *testing.T) {
	leak.Check(t)
	ctx := t.Context()
	master, at := node(t, 0, 16383)
	_, follows := node(t)
	meet(t, at, follows)
	id := at.ClusterMyID(ctx).Val()
	services.Eventually(t, func() error { return follows.ClusterReplicate(ctx, id).Err() })
	client := clusterClient(t, master, func(o *redis.ClusterOptions) { o.ReadOnly, o.RouteRandomly = true, true })
	services.Eventually(t, func() error {
		at.Incr(ctx, "a write to replicate") // clients are not told of a replica that has none
		var known atomic.Int32
		err := client.ForEachSlave(ctx, func(context.Context, *redis.Client) error { known.Add(1); return nil })
		if known.Load() != 1 {
			return errors.Join(err, errors.New("the client knows no replica"))
		}
		return nil
	})
	s := newStore(client)
	for range 5 {
		for _, op := range operations(ctx, s) {
			if err := op.do(); err != nil {
				t.Fatalf("%s = %v", op.name, err)
			}
		}
	}
	stats := follows.Info(ctx, "commandstats").Val()
	if strings.Contains(stats, "cmdstat_evalsha:") {
		t.Errorf("the replica was asked to run scripts, want the master only: %s", stats)
	}
}

// The master dies, and a replica that has the claim takes its place.
func TestFailoverBySentinelKeepsTheClaim(t *testing.T) {
	leak.Check(t)
	ctx := t.Context()
	master := services.OwnRedis(t, noDelay...)
	host, port, _ := net.SplitHostPort(master.Addr())
	replica := services.OwnRedis(t, "--replicaof", host, port)
	control := connect(t, master)
	services.Eventually(t, func() error {
		control.Incr(ctx, "a write to wait for")
		if n, err := control.Wait(ctx, 1, 0).Result(); n != 1 {
			return errors.Join(err, errors.New("no replica"))
		}
		return nil
	})
	sentinel := services.OwnSentinel(t, master.Addr())
	client := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: "main", SentinelAddrs: []string{sentinel.Addr()}})
	t.Cleanup(func() { client.Close() })
	s, c := newStore(client), newClaim()
	claim(t, s, c, idempotency.Claimed)
	if n := control.Wait(ctx, 1, 0).Val(); n != 1 {
		t.Fatalf("%d replicas have the claim, want 1", n)
	}
	watch := redis.NewSentinelClient(&redis.Options{Addr: sentinel.Addr()})
	t.Cleanup(func() { watch.Close() })
	services.Eventually(t, func() error {
		known, err := watch.Replicas(ctx, "main").Result()
		if len(known) != 1 {
			return errors.Join(err, errors.New("the sentinel knows no replica"))
		}
		return nil
	})
	master.Kill()
	services.Eventually(t, func() error {
		a, err := s.Claim(ctx, rival(c))
		if err == nil && a.State != idempotency.InProgress {
			t.Fatalf("Claim after the failover = %v, want in progress", a.State)
		}
		return err
	})
	if err := s.Complete(ctx, c, []byte("a result")); err != nil {
		t.Errorf("Complete after the failover = %v, want nil", err)
	}
	if role := connect(t, replica).Info(ctx, "replication").Val(); !strings.Contains(role, "role:master") {
		t.Errorf("the replica is %s, want the master", role)
	}
}
