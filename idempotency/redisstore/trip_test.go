package redisstore_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/idempotency/redisstore"
	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/internal/services"
)

// A ledger is a hook that keeps the names of the commands that are sent.
type ledger struct {
	mu   sync.Mutex
	sent []string
}

func (l *ledger) DialHook(next redis.DialHook) redis.DialHook { return next }

func (l *ledger) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (l *ledger) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		l.mu.Lock()
		l.sent = append(l.sent, cmd.Name())
		l.mu.Unlock()
		return next(ctx, cmd)
	}
}

// took returns what was sent since it was called last.
func (l *ledger) took() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer func() { l.sent = nil }()
	return l.sent
}

// An operation is one call of a Store.
type operation struct {
	name string
	do   func() error
}

// operations are all that a Store does, in an order in which they succeed.
func operations(ctx context.Context, s *redisstore.Store) []operation {
	done, released := newClaim(), newClaim()
	try := func() error {
		_, err := s.Claim(ctx, done)
		return err
	}
	return []operation{
		{"Claim", try},
		{"Renew", func() error { return s.Renew(ctx, done) }},
		{"Claim in progress", func() error { _, err := s.Claim(ctx, rival(done)); return err }},
		{"Complete", func() error { return s.Complete(ctx, done, []byte("a result")) }},
		{"Claim of what is done", try},
		{"Claim of another", func() error { _, err := s.Claim(ctx, released); return err }},
		{"Release", func() error { return s.Release(ctx, released) }},
	}
}

// I-12
func TestEachOperationIsOneCommand(t *testing.T) {
	leak.Check(t)
	client := connect(t, services.OwnRedis(t))
	s := newStore(client)
	for _, op := range operations(t.Context(), s) { // after which the server knows the scripts
		if err := op.do(); err != nil {
			t.Fatalf("%s = %v", op.name, err)
		}
	}
	client.ConfigResetStat(t.Context())
	var l ledger
	client.AddHook(&l)
	ops := operations(t.Context(), s)
	for _, op := range ops {
		err := op.do()
		if sent := l.took(); err != nil || !slices.Equal(sent, []string{"evalsha"}) {
			t.Errorf("%s = %v with the commands %q, want one evalsha", op.name, err, sent)
		}
	}
	stats, err := client.InfoMap(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	calls, _, _ := strings.Cut(stats["Commandstats"]["cmdstat_evalsha"], ",")
	if calls != "calls=7" || len(ops) != 7 {
		t.Errorf("the server counts %s of evalsha, want one for each of %d operations", calls, len(ops))
	}
}

// A request is a claim and a record, and a replay a claim.
func TestGuardedRequestIsTwoCommands(t *testing.T) {
	leak.Check(t)
	client := connect(t, services.Redis(t))
	s := newStore(client)
	for _, op := range operations(t.Context(), s) { // after which the server knows the scripts
		if err := op.do(); err != nil {
			t.Fatalf("%s = %v", op.name, err)
		}
	}
	var l ledger
	client.AddHook(&l)
	guard := idempotency.NewGuard(idempotency.GuardConfig{Store: s})
	h := guard.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), idempotency.HandlerConfig{Tenant: idempotency.OneTenant})
	for _, want := range [][]string{{"evalsha", "evalsha"}, {"evalsha"}} {
		req := httptest.NewRequest("POST", "/", strings.NewReader("x"))
		req.Header.Set("Idempotency-Key", `"k"`)
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, req)
		if sent := l.took(); answer.Code != http.StatusOK || !slices.Equal(sent, want) {
			t.Errorf("POST = %d with the commands %q, want 200 with %q", answer.Code, sent, want)
		}
	}
}

// A server forgets scripts when it is restarted.
func TestForgottenScriptIsSentAgain(t *testing.T) {
	leak.Check(t)
	client := connect(t, services.OwnRedis(t))
	var l ledger
	client.AddHook(&l)
	for _, op := range operations(t.Context(), newStore(client)) {
		client.ScriptFlush(t.Context())
		l.took()
		err := op.do()
		if sent := l.took(); err != nil || !slices.Equal(sent, []string{"evalsha", "eval"}) {
			t.Errorf("%s = %v with the commands %q, want evalsha and eval", op.name, err, sent)
		}
	}
}
