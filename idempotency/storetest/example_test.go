package storetest_test

import (
	"testing"

	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/idempotency/storetest"
)

// What Open returns here is a Store of your own. One that is connected to a
// server says so by a Restart, and leaves Virtual out.
func TestStore(t *testing.T) {
	storetest.Run(t, storetest.Config{
		Open: func(t *testing.T) idempotency.Store {
			return idempotency.NewMemory(idempotency.MemoryConfig{})
		},
		Virtual: true,
	})
}
