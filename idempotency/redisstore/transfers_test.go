package redisstore_test

import (
	"context"
	"errors"
	"strconv"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/idempotency/redisstore"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/internal/services"
	"github.com/backstay-go/backstay/internal/transfers"
)

func TestTransfers(t *testing.T) {
	leak.Check(t)
	transfers.Run(t, transfers.Bank{
		Guard:  idempotency.GuardConfig{Store: newStore(connect(t, services.Redis(t)))},
		Ledger: transfers.NewMemory(),
	})
}

// I-14
func TestServerIsKilled(t *testing.T) {
	leak.Check(t)
	t.Run("Fail", func(t *testing.T) {
		t.Parallel()
		transfers.Killed(t, site(t), []transfers.Fate{
			{Step: transfers.BeforeEffect, Made: 0, Err: idempotency.ErrOutcomeUnknown},
			{Step: transfers.AfterEffect, Made: 1, Err: idempotency.ErrOutcomeUnknown},
			{Step: transfers.AfterRecord, Made: 1, Replayed: true},
		})
	})
	t.Run("Reexecute", func(t *testing.T) {
		t.Parallel()
		again := site(t)
		again.OnLeaseExpiry = idempotency.Reexecute
		transfers.Killed(t, again, []transfers.Fate{
			{Step: transfers.BeforeEffect, Made: 1},
			{Step: transfers.AfterEffect, Made: 2}, // what Reexecute accepts
			{Step: transfers.AfterRecord, Made: 1, Replayed: true},
		})
	})
	t.Run("often", func(t *testing.T) {
		t.Parallel()
		transfers.KilledOften(t, site(t), true, transfers.BeforeEffect, transfers.AfterEffect, transfers.AfterRecord, transfers.AfterEffect)
	})
}

// I-20
func TestTransfersOutliveRestarts(t *testing.T) {
	leak.Check(t)
	server := services.OwnRedis(t)
	transfers.Outage(t, transfers.Bank{
		Guard:  idempotency.GuardConfig{Store: newStore(connect(t, server))},
		Ledger: transfers.NewMemory(),
	},
		transfers.Interruption{Name: "killed", End: server.Kill, Begin: server.Start},
		transfers.Interruption{Name: "stopped", End: server.Stop, Begin: server.Start},
	)
}

// The client of the store sends nothing again by itself, and so the guard has
// to.
func TestConnectionIsCutInTheMiddleOfATransfer(t *testing.T) {
	leak.Check(t)
	server := services.Redis(t)
	proxy := services.NewProxy(t, server.Addr())
	client := connect(t, server, through(proxy), func(o *redis.Options) { o.MaxRetries = -1 })
	transfers.Cuts(t, transfers.Bank{
		Guard:  idempotency.GuardConfig{Store: newStore(client)},
		Ledger: transfers.NewMemory(),
	}, proxy,
		transfers.Cut{Match: "evalsha"},                               // the claim
		transfers.Cut{After: transfers.AfterEffect, Match: "evalsha"}, // the record
	)
}

// site returns a store and a ledger in the Redis that tests share.
func site(t *testing.T) transfers.Site {
	server := services.Redis(t)
	return transfers.Site{
		Env: []string{"BACKSTAY_TEST_REDIS=" + server.URL()},
		Open: func(t testing.TB, name string, _ func(transfers.Step)) (idempotency.Store, transfers.Ledger) {
			store := redisstore.New(connect(t, server), redisstore.Config{Prefix: name + ":"})
			once := connect(t, server, func(o *redis.Options) { o.MaxRetries = -1 })
			return store, &books{once, name}
		},
	}
}

// books is a Ledger in Redis, by a client that sends nothing twice by itself.
type books struct {
	client *redis.Client
	name   string
}

func (b *books) Apply(ctx context.Context, t transfers.Transfer) error {
	_, err := b.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.HIncrBy(ctx, b.name+":balances", strconv.Itoa(t.From), -t.Amount)
		p.HIncrBy(ctx, b.name+":balances", strconv.Itoa(t.To), t.Amount)
		p.HIncrBy(ctx, b.name+":entries", t.ID, 1)
		return nil
	})
	if err != nil {
		return errors.Join(transfers.ErrInDoubt, err)
	}
	return nil
}

func (b *books) Read(ctx context.Context) (transfers.Book, error) {
	book := transfers.NewBook()
	balances, err1 := b.client.HGetAll(ctx, b.name+":balances").Result()
	entries, err2 := b.client.HGetAll(ctx, b.name+":entries").Result()
	if err := errors.Join(err1, err2); err != nil {
		return book, err
	}
	for account, change := range balances {
		i, err1 := strconv.Atoi(account)
		n, err2 := strconv.ParseInt(change, 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return book, err
		}
		book.Balances[i] += n
	}
	for id, times := range entries {
		n, err := strconv.Atoi(times)
		if err != nil {
			return book, err
		}
		book.Entries[id] = n
	}
	return book, nil
}
