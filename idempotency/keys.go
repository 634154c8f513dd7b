package idempotency

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/internal/httpreq"
)

// KeysConfig describes Keys. The zero value is fit for production.
type KeysConfig struct {
	// Format is how the target wants its keys. The zero value is Standard.
	Format Format

	// Targets are the formats of some targets, in place of Format, for a policy
	// that serves several. They are found by the Target of the call, which for
	// HTTP is the host of the URL, with the port where it names one; case does
	// not matter.
	Targets map[string]Format

	// New makes a key. It must be safe for concurrent use and never return the
	// same key twice. nil means UUIDv4.
	New func() string

	// Always gives keys to all calls. Otherwise only calls that are Unsafe get
	// one: of HTTP requests only POST and PATCH, of gRPC calls those that nothing
	// says are idempotent, such as an idempotency_level of their method.
	Always bool
}

// Validate reports what is wrong with the config.
func (c KeysConfig) Validate() error {
	if err := c.Format.Validate(); err != nil {
		return err
	}
	for target, f := range c.Targets {
		if strings.Contains(target, "/") {
			return fmt.Errorf("idempotency: the target %q never matches; give the host of the URL, such as api.example.com", target)
		}
		if err := f.Validate(); err != nil {
			return fmt.Errorf("%w, for the target %s", err, target)
		}
	}
	return nil
}

// Keys returns a middleware that gives each logical call one key, the same on
// all its attempts. It stands above everything that repeats calls.
//
// The key is what the caller has put into the header of the target's format,
// which is sent as it is; else the IdempotencyKey that the call has already;
// else that of the context, from WithKey or NewContext; else a new one. A
// header that is there without a value is left so, and the call has no key.
//
// A key that the target's format cannot carry fails the call before it is
// sent, with ErrBadKey.
//
// It panics if cfg is not valid.
func Keys(cfg KeysConfig) backstay.Middleware {
	if err := cfg.Validate(); err != nil {
		panic(err.Error())
	}
	k := &keys{format: cfg.Format.defaults(), targets: map[string]Format{}, fresh: cfg.New, always: cfg.Always}
	for target, f := range cfg.Targets {
		k.targets[strings.ToLower(target)] = f.defaults()
	}
	if k.fresh == nil {
		k.fresh = UUIDv4
	}
	return k
}

type keys struct {
	format  Format
	targets map[string]Format
	fresh   func() string
	always  bool
}

func (k *keys) String() string { return "keys" }

// Traits refuse a place under retry or hedge, where each attempt would get a
// key of its own.
func (k *keys) Traits() backstay.Traits { return backstay.Traits{PerCall: true} }

func (k *keys) Wrap(next backstay.Func) backstay.Func {
	return func(ctx context.Context, call *backstay.Call) error {
		if call.Unsafe || k.always {
			if err := k.attach(ctx, call); err != nil {
				return err
			}
		}
		return next(ctx, call)
	}
}

// attach gives the call its key.
func (k *keys) attach(ctx context.Context, call *backstay.Call) error {
	f := k.formatOf(call)
	req, isHTTP := backstay.Request[*http.Request](call)
	if isHTTP {
		if given, ok := find(req.Header, f.Header); ok {
			keep(call, given)
			return nil
		}
		if !k.always && req.Method != http.MethodPost && req.Method != http.MethodPatch {
			return nil
		}
	}
	key := call.IdempotencyKey
	if key == "" {
		key = k.keyFor(ctx, call, req)
	}
	if err := f.check(key); err != nil {
		return &backstay.Error{Err: err, Class: backstay.Permanent, NotSent: true, Type: "idempotency_key"}
	}
	call.IdempotencyKey = key
	if isHTTP {
		f.write(req, key)
	}
	return nil
}

// find returns what h has under the canonical name, or under one that was put
// into the map in another case: on the wire they are the same.
func find(h http.Header, name string) ([]string, bool) {
	if given, ok := h[name]; ok {
		return given, true
	}
	for k, given := range h {
		if strings.EqualFold(k, name) {
			return given, true
		}
	}
	return nil, false
}

// keep makes what the caller's header says the key of the call.
func keep(call *backstay.Call, given []string) {
	if call.IdempotencyKey == "" && len(given) > 0 {
		call.IdempotencyKey = httpreq.Plain(given[0])
	}
}

func (k *keys) formatOf(call *backstay.Call) Format {
	if f, ok := k.targets[strings.ToLower(call.Target)]; ok {
		return f
	}
	return k.format
}

// keyFor returns the key that the context has for the call, or a new one.
func (k *keys) keyFor(ctx context.Context, call *backstay.Call, req *http.Request) string {
	switch s := ctx.Value(contextKey{}).(type) {
	case given:
		return string(s)
	case *generated:
		return s.key(originOf(call, req), k.fresh)
	}
	return k.fresh()
}

// ErrBadKey is a key that cannot be sent to the target. The text of an error
// that wraps it says why, and does not hold the key.
var ErrBadKey = errors.New("idempotency: bad key")

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrBadKey, fmt.Sprintf(format, args...))
}
