package redisstore_test

import (
	"testing"

	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/idempotency/storetest"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/internal/services"
)

// I-11, I-12, I-13
func TestStore(t *testing.T) {
	leak.Check(t)
	server := services.OwnRedis(t)
	storetest.Run(t, storetest.Config{
		Open:    func(t *testing.T) idempotency.Store { return newStore(connect(t, server)) },
		Restart: func(*testing.T) { server.Restart() },
	})
}

// I-11, I-12, I-13
func TestStoreInCluster(t *testing.T) {
	leak.Check(t)
	server := services.OwnCluster(t)
	storetest.Run(t, storetest.Config{
		Open: func(t *testing.T) idempotency.Store { return newStore(clusterClient(t, server)) },
	})
}
