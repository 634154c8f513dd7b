package idempotency

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/internal/race"
	"github.com/backstay-go/backstay/retry"
)

// seen are the keys of the attempts that reached the function.
type seen struct {
	mu   sync.Mutex
	keys []string
}

func (s *seen) add(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = append(s.keys, key)
}

func (s *seen) distinct() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := map[string]int{}
	for _, k := range s.keys {
		n[k]++
	}
	return n
}

// caller returns a function that makes calls under p, prepared by prepare, and
// what their attempts saw.
func caller(p *backstay.Policy, prepare func(*backstay.Call)) (func(context.Context) error, *seen) {
	s := new(seen)
	do := backstay.Bind(p, backstay.Op[int, int]{
		Name:    "orders.Place",
		Prepare: func(call *backstay.Call, _ int) { prepare(call) },
		Do: func(_ context.Context, call *backstay.Call, _ int) (int, error) {
			s.add(call.IdempotencyKey)
			return 0, nil
		},
	})
	return func(ctx context.Context) error {
		_, err := do(ctx, 0)
		return err
	}, s
}

func unsafeCall(call *backstay.Call) { call.Unsafe = true }

// I-5
func TestOnlyUnsafeCallsGetAKey(t *testing.T) {
	own := func() string { return "made" }
	ctx := t.Context()
	for _, c := range []struct {
		name           string
		ctx            context.Context
		unsafe, always bool
		key            string // of the call
		want           string
	}{
		{"unsafe", ctx, true, false, "", "made"},
		{"unsafe, key in the context", WithKey(ctx, "mine"), true, false, "", "mine"},
		{"unsafe, key in the call", WithKey(ctx, "mine"), true, false, "its", "its"},
		{"unsafe, the inner context counts", WithKey(NewContext(ctx), "mine"), true, false, "", "mine"},
		{"unsafe, a new context counts", NewContext(WithKey(ctx, "mine")), true, false, "", "made"},
		{"safe", ctx, false, false, "", ""},
		{"safe, key in the context", WithKey(ctx, "mine"), false, false, "", ""},
		{"safe, always", ctx, false, true, "", "made"},
		{"safe, always, key in the context", WithKey(ctx, "mine"), false, true, "", "mine"},
	} {
		do, s := caller(backstay.New(Keys(KeysConfig{New: own, Always: c.always})), func(call *backstay.Call) {
			call.Unsafe, call.IdempotencyKey = c.unsafe, c.key
		})
		if err := do(c.ctx); err != nil || s.keys[0] != c.want {
			t.Errorf("%s: call had key %q, err %v, want %q", c.name, s.keys, err, c.want)
		}
	}
}

// I-2, I-5
func TestEveryLogicalCallHasANewKey(t *testing.T) {
	do, s := caller(backstay.New(Keys(KeysConfig{})), unsafeCall)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for range 20 {
				if err := do(t.Context()); err != nil {
					t.Errorf("Do(unsafe) = %v, want nil", err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(s.distinct()); n != 1000 {
		t.Errorf("1000 calls had %d keys, want 1000", n)
	}
}

// hedge makes two attempts of each call at the same time, as hedging does.
func hedge(next backstay.Func) backstay.Func {
	return func(ctx context.Context, call *backstay.Call) error {
		a, _ := call.Fork()
		b, _ := call.Fork()
		var wg sync.WaitGroup
		wg.Go(func() {
			err := next(ctx, b)
			b.Discard(err)
		})
		err := next(ctx, a)
		call.Adopt(a)
		wg.Wait()
		return err
	}
}

// I-5
func TestHedgedAttemptsHaveOneKey(t *testing.T) {
	do, s := caller(backstay.New(Keys(KeysConfig{}), backstay.MiddlewareFunc(hedge)), unsafeCall)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if err := do(t.Context()); err != nil {
				t.Errorf("Do(unsafe) = %v, want nil", err)
			}
		})
	}
	wg.Wait()
	for key, n := range s.distinct() {
		if n != 2 {
			t.Errorf("key %q was on %d attempts, want 2", key, n)
		}
	}
}

// I-5
func TestKeysUnderRetryIsRefused(t *testing.T) {
	err := backstay.Check(retry.New(retry.Config{}), Keys(KeysConfig{}))
	if err == nil || !strings.Contains(err.Error(), "keys is under retry(3)") {
		t.Errorf("Check(retry > keys) = %v, want that keys is under retry(3)", err)
	}
	if got := backstay.New(Keys(KeysConfig{}), retry.New(retry.Config{})).String(); got != "keys > retry(3)" {
		t.Errorf("String() = %q, want %q", got, "keys > retry(3)")
	}
}

// I-4
func TestABadKeyFailsBeforeAnythingIsSent(t *testing.T) {
	const secret = "s3cr3t"
	for _, c := range []struct {
		name   string
		format Format
		key    string
		says   string
	}{
		{"empty", Standard, "", "it is empty"},
		{"too long", Adyen, strings.Repeat(secret, 11), "has 66 characters, and the target's Idempotency-Key takes 64"},
		{"too long for a structured field", Standard, strings.Repeat("k", 1025), "takes 1024"},
		{"not ASCII", Standard, secret + "é", "byte 7 is not printable ASCII"},
		{"line break", Stripe, secret + "\r\nHost: evil", "byte 7 is not printable ASCII"},
		{"outer space", PayPal, secret + " ", "Paypal-Request-Id has no quotes"},
	} {
		do, s := caller(backstay.New(Keys(KeysConfig{Format: c.format}), retry.New(retry.Config{})), unsafeCall)
		err := do(WithKey(t.Context(), c.key))
		if !errors.Is(err, ErrBadKey) || !strings.Contains(err.Error(), c.says) || len(s.keys) > 0 {
			t.Errorf("%s: Do = %v after %d attempts, want ErrBadKey with %q after 0", c.name, err, len(s.keys), c.says)
			continue
		}
		if class := backstay.Classify(err); class != backstay.Permanent || !backstay.NotSent(err) {
			t.Errorf("%s: the error is %v, NotSent %v, want permanent, true", c.name, class, backstay.NotSent(err))
		}
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error holds the key: %v", c.name, err)
		}
	}
}

func TestKeyOfTheGreatestLengthIsSent(t *testing.T) {
	for name, f := range map[string]Format{"Standard": Standard, "Stripe": Stripe, "Adyen": Adyen, "PayPal": PayPal} {
		do, s := caller(backstay.New(Keys(KeysConfig{Format: f})), unsafeCall)
		key := strings.Repeat("k", f.defaults().MaxLength)
		if err := do(WithKey(t.Context(), key)); err != nil || s.keys[0] != key {
			t.Errorf("%s: Do(key of %d) = %v, want nil", name, len(key), err)
		}
		derived, _ := Derive(make([]byte, minSecret), Intent{ID: "1"})
		for _, key := range []string{UUIDv4(), UUIDv7(), derived, Child("parent", "site")} {
			if err := f.defaults().check(key); err != nil {
				t.Errorf("%s: check(%q) = %v, want nil", name, key, err)
			}
		}
	}
}

func TestConfigThatCannotWorkIsRefused(t *testing.T) {
	for _, c := range []struct {
		cfg  KeysConfig
		says string
	}{
		{KeysConfig{Format: Format{Header: "Idempotency Key"}}, "cannot be a header"},
		{KeysConfig{Format: Format{Header: "Key:"}}, "cannot be a header"},
		{KeysConfig{Format: Format{MaxLength: -1}}, "MaxLength is -1"},
		{KeysConfig{Targets: map[string]Format{"api.example.com": {MaxLength: -1}}}, "for the target api.example.com"},
		{KeysConfig{Targets: map[string]Format{"https://api.example.com": {}}}, "give the host of the URL"},
	} {
		err := c.cfg.Validate()
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("Validate() = %v, want %q", err, c.says)
		}
		func() {
			defer func() {
				if got := recover(); got != err.Error() {
					t.Errorf("Keys panicked with %v, want %v", got, err)
				}
			}()
			Keys(c.cfg)
		}()
	}
	for _, f := range []Format{Standard, Stripe, Adyen, PayPal, {Header: "x-idempotency-key"}} {
		if err := f.Validate(); err != nil {
			t.Errorf("Validate(%+v) = %v, want nil", f, err)
		}
	}
}

func TestKeysAllocates(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	for _, c := range []struct {
		name    string
		prepare func(*backstay.Call)
		want    float64
	}{
		{"safe", func(*backstay.Call) {}, 0},
		{"unsafe", unsafeCall, 1}, // the key
	} {
		do := backstay.Bind(backstay.New(Keys(KeysConfig{})), backstay.Op[int, int]{
			Prepare: func(call *backstay.Call, _ int) { c.prepare(call) },
			Do:      func(context.Context, *backstay.Call, int) (int, error) { return 0, nil },
		})
		got := testing.AllocsPerRun(100, func() { _, _ = do(t.Context(), 0) })
		if got != c.want {
			t.Errorf("a call that is %s allocated %v times, want %v", c.name, got, c.want)
		}
	}
}
