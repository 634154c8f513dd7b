package services

import (
	"testing"

	"github.com/backstay-go/backstay/internal/leak"
)

func TestOwn(t *testing.T) {
	rows := []struct {
		name  string
		start func(testing.TB) *Server
		ready func(string) error
	}{
		{"redis", func(t testing.TB) *Server { return OwnRedis(t) }, redisAnswers},
		{"cluster", OwnCluster, redisAnswers},
		{"postgres", OwnPostgres, postgresAnswers},
		{"sentinel", func(t testing.TB) *Server { return OwnSentinel(t, OwnRedis(t).Addr()) }, redisAnswers},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			leak.Check(t)
			s := r.start(t)
			for name, end := range map[string]func(){"Stop": s.Stop, "Kill": s.Kill} {
				end()
				if err := r.ready(s.Addr()); err == nil {
					t.Errorf("%s left a server that answers", name)
				}
				s.Start()
				if err := r.ready(s.Addr()); err != nil {
					t.Errorf("after Start: %v, want an answer", err)
				}
			}
			t.Log(s.URL())
		})
	}
}

func TestShared(t *testing.T) {
	leak.Check(t)
	t.Log(Redis(t).URL(), Postgres(t).URL())
}
