package idempotency_test

import (
	"testing"

	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/idempotency/storetest"
)

// I-11, I-12, I-13, I-18
func TestMemory(t *testing.T) {
	storetest.Run(t, storetest.Config{
		Virtual: true,
		Open: func(*testing.T) idempotency.Store {
			return idempotency.NewMemory(idempotency.MemoryConfig{})
		},
	})
}
