package transfers

import (
	"fmt"
	"math/rand/v2"
)

// A Transfer is money that somebody wants moved once.
type Transfer struct {
	ID     string `json:"id"`
	From   int    `json:"from"`
	To     int    `json:"to"`
	Amount int64  `json:"amount"`
}

const (
	// Accounts is how many accounts there are. They are numbered from 0.
	Accounts = 20
	// Opening is what each account has at first.
	Opening = 1_000_000
)

// plan returns n transfers, the same ones for the same seed.
func plan(seed uint64, n int) []Transfer {
	all := make([]Transfer, n)
	for i := range all {
		all[i] = nth(seed, int64(i))
	}
	return all
}

// nth returns the nth transfer of the plans with this seed, from 0.
func nth(seed uint64, n int64) Transfer {
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	from := r.IntN(Accounts)
	to := (from + 1 + r.IntN(Accounts-1)) % Accounts
	return Transfer{ID: fmt.Sprintf("transfer %d", n+1), From: from, To: to, Amount: 1 + r.Int64N(100)}
}
