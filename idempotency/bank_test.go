package idempotency

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"
)

// A bank is a Transactor: a Memory, and a ledger that is changed together with
// it or not at all. What goes wrong is up to the rules of the faulty, which is
// asked of Tx.Complete by the name Commit.
type bank struct {
	faulty
	mu        sync.Mutex
	ledger    map[ID]int // how often the transfer was made
	rollbacks int

	beginPanics bool
}

func newBank() *bank {
	return &bank{faulty: faulty{Store: NewMemory(MemoryConfig{})}, ledger: map[ID]int{}}
}

type bankTxKey struct{}

// A bankTx is a Tx.
type bankTx struct {
	bank  *bank
	claim Claim
	ctx   context.Context
	moved int // by the work
	over  bool
	ended bool // by the work
}

func (b *bank) Begin(ctx context.Context, c Claim) (context.Context, Tx) {
	if b.beginPanics {
		panic("the bank panics")
	}
	tx := &bankTx{bank: b, claim: c, ctx: ctx}
	return context.WithValue(ctx, bankTxKey{}, tx), tx
}

// move is what the work does.
func move(ctx context.Context) { ctx.Value(bankTxKey{}).(*bankTx).moved++ }

func (tx *bankTx) Complete(ctx context.Context, record []byte) error {
	if tx.ended {
		return ErrTransactionEnded
	}
	if tx.over {
		return errors.New("the transaction is over")
	}
	tx.over = true
	return tx.bank.next("Commit").run(ctx, func() error { return tx.commit(record) })
}

// commit changes nothing if the record is gone, another's, or complete.
func (tx *bankTx) commit(record []byte) error {
	b := tx.bank
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := tx.ctx.Err(); err != nil {
		return err // it ends with the context of the work
	}
	if a, err := b.Store.Claim(context.Background(), tx.probe()); err != nil || a.State == Done {
		return ErrLeaseLost
	}
	if err := b.Store.Complete(context.Background(), tx.claim, record); err != nil {
		return err
	}
	b.ledger[tx.claim.ID] += tx.moved
	return nil
}

// probe is a claim that only asks how it stands: of a key that is unknown it gets
// a lease that ends at once.
func (tx *bankTx) probe() Claim {
	c := tx.claim
	c.Fence, c.Takeover, c.TTL, c.Lease = Fence{1}, false, time.Nanosecond, time.Nanosecond
	return c
}

func (tx *bankTx) Rollback() error {
	if !tx.over {
		tx.over = true
		tx.bank.mu.Lock()
		defer tx.bank.mu.Unlock()
		tx.bank.rollbacks++
	}
	return nil
}

// made returns how often each transfer was made.
func (b *bank) made() map[ID]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.ledger)
}

func (b *bank) total() (n int) {
	for _, times := range b.made() {
		n += times
	}
	return n
}
