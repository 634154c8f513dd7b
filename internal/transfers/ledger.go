package transfers

import (
	"context"
	"errors"
	"maps"
	"sync"
)

// A Ledger is where the money is. It is safe for concurrent use.
type Ledger interface {
	// Apply moves the money and makes an entry, each time it is asked to. An
	// error that is ErrInDoubt may have done so, any other has not.
	Apply(ctx context.Context, t Transfer) error

	// Read returns what the ledger has in it.
	Read(ctx context.Context) (Book, error)
}

// ErrInDoubt is what a Ledger returns that cannot tell what it has done.
var ErrInDoubt = errors.New("transfers: it is not known whether the money was moved")

// A Book is what a Ledger has in it.
type Book struct {
	Balances [Accounts]int64
	Entries  map[string]int // how often each transfer was made, by its ID
}

// NewBook returns a Book without entries.
func NewBook() Book {
	b := Book{Entries: map[string]int{}}
	for i := range b.Balances {
		b.Balances[i] = Opening
	}
	return b
}

// apply makes the transfer.
func (b *Book) apply(t Transfer) {
	b.Balances[t.From] -= t.Amount
	b.Balances[t.To] += t.Amount
	b.Entries[t.ID]++
}

// NewMemory returns a Ledger in the memory of this process.
func NewMemory() Ledger { return &memory{book: NewBook()} }

type memory struct {
	mu   sync.Mutex
	book Book
}

func (m *memory) Apply(_ context.Context, t Transfer) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.book.apply(t)
	return nil
}

func (m *memory) Read(context.Context) (Book, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Book{m.book.Balances, maps.Clone(m.book.Entries)}, nil
}
