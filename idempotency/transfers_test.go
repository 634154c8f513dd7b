package idempotency_test

import (
	"testing"

	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/internal/transfers"
)

func TestTransfers(t *testing.T) {
	leak.Check(t)
	transfers.Run(t, transfers.Bank{
		Guard:  idempotency.GuardConfig{Store: idempotency.NewMemory(idempotency.MemoryConfig{})},
		Ledger: transfers.NewMemory(),
	})
}
