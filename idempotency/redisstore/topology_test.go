package redisstore_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/internal/services"
)

func TestKeysSpreadOverACluster(t *testing.T) {
	leak.Check(t)
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{services.OwnCluster(t).Addr()}})
	t.Cleanup(func() { client.Close() })
	s := newStore(client)
	for range 50 {
		claim(t, s, newClaim(), idempotency.Claimed)
	}
	slots := map[int64]bool{}
	for _, key := range client.Keys(t.Context(), "*").Val() {
		slots[client.ClusterKeySlot(t.Context(), key).Val()] = true
	}
	if len(slots) < 40 {
		t.Errorf("50 claims are in %d slots, want about as many", len(slots))
	}
}

// A client that reads from replicas still claims at the master.
func TestClaimsGoToTheMaster(t *testing.T) {
	leak.Check(t)
	ctx := t.Context()
	master := services.OwnCluster(t)
	replica := services.OwnRedis(t, "--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1")
	at, follows := connect(t, master), connect(t, replica)
	host, port, _ := net.SplitHostPort(master.Addr())
	if err := follows.ClusterMeet(ctx, host, port).Err(); err != nil {
		t.Fatal(err)
	}
	id := at.ClusterMyID(ctx).Val()
	eventually(t, func() error { return follows.ClusterReplicate(ctx, id).Err() })
	eventually(t, func() error {
		if nodes := at.ClusterNodes(ctx).Val(); !strings.Contains(nodes, "slave "+id) {
			return errors.New("no replica in " + nodes)
		}
		return at.Wait(ctx, 1, 0).Err()
	})
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{master.Addr(), replica.Addr()}, RouteRandomly: true, ReadOnly: true})
	t.Cleanup(func() { client.Close() })
	replicas := 0
	err := client.ForEachSlave(ctx, func(context.Context, *redis.Client) error { replicas++; return nil })
	if err != nil || replicas != 1 {
		t.Fatalf("the client knows %d replicas, %v, want 1", replicas, err)
	}
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
	master := services.OwnRedis(t)
	host, port, _ := net.SplitHostPort(master.Addr())
	replica := services.OwnRedis(t, "--replicaof", host, port)
	control := connect(t, master)
	eventually(t, func() error {
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
	eventually(t, func() error {
		known, err := watch.Replicas(ctx, "main").Result()
		if len(known) != 1 {
			return errors.Join(err, errors.New("the sentinel knows no replica"))
		}
		return nil
	})
	master.Kill()
	eventually(t, func() error {
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
