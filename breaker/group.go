package breaker

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/internal/clock"
)

// A Key says which calls share a breaker of a Group.
type Key struct {
	name     string
	of       func(ctx context.Context, call *backstay.Call) string
	endpoint bool
}

// The usual keys.
var (
	// ByEndpoint gives each endpoint a breaker. It stands under the balancer, and
	// leaves out attempts that could not be sent there for want of a connection,
	// and those that ended elsewhere (Call.Moved).
	ByEndpoint = Key{"endpoint", func(_ context.Context, c *backstay.Call) string { return c.Endpoint }, true}
	// ByTarget gives each target a breaker: in an HTTP policy, each host.
	ByTarget = Key{"target", func(_ context.Context, c *backstay.Call) string { return c.Target }, false}
	// ByOp gives each operation a breaker.
	ByOp = Key{"op", func(_ context.Context, c *backstay.Call) string { return c.Op }, false}
)

// By gives each value of f a breaker. name is what String calls it.
func By(name string, f func(ctx context.Context, call *backstay.Call) string) Key {
	if f == nil {
		panic("breaker: By needs a function that returns the key of a call")
	}
	return Key{name, f, false}
}

// maxBreakers bounds the breakers of a group.
const maxBreakers = 4096

// A Group is a breaker for each key, made when first needed. It is a
// backstay.Middleware and safe for concurrent use; make it with NewGroup.
//
// It holds 4096 breakers at most. Keys beyond that share one, named "_OTHER",
// until breakers that are closed and idle have made room. One is idle when no
// call has begun for longer than a Window and MaxProbe. Those that are not
// closed stay, so that a crowd of new keys does not set a sick callee free:
// Forget the keys that are gone for good.
type Group struct {
	cfg    Config
	key    Key
	beyond *Breaker

	m     sync.Map      // string to *member
	idle  time.Duration // without a call, after which a breaker may go
	mu    sync.Mutex    // guards what follows, and additions to m
	size  int
	swept time.Duration // when makeRoom last looked
}

type member struct {
	*Breaker
	used atomic.Bool // since the last sweep
}

// NewGroup returns a group whose breakers are made like New(cfg); to their
// names the key is added. It panics if cfg is not valid.
func NewGroup(cfg Config, key Key) *Group {
	if key.of == nil {
		panic("breaker: NewGroup needs a key, such as ByEndpoint or ByTarget")
	}
	g := &Group{cfg: cfg, key: key}
	g.beyond = g.fresh("_OTHER")
	g.idle = max(g.beyond.cfg.Window, g.beyond.cfg.MaxProbe)
	return g
}

func (g *Group) fresh(key string) *Breaker {
	cfg := g.cfg
	switch {
	case key == "":
	case cfg.Name == "":
		cfg.Name = key
	default:
		cfg.Name += "/" + key
	}
	b := New(cfg)
	b.one = g.key.endpoint
	return b
}

// String returns "breaker(name by key)".
func (g *Group) String() string {
	if g.cfg.Name == "" {
		return fmt.Sprintf("breaker(by %s)", g.key.name)
	}
	return fmt.Sprintf("breaker(%s by %s)", g.cfg.Name, g.key.name)
}

// Traits states that the breakers judge, over which window, and whether they
// need a balancer above.
func (g *Group) Traits() backstay.Traits {
	return backstay.Traits{Judges: true, Window: g.cfg.defaults().Window, NeedsEndpoint: g.key.endpoint}
}

// Wrap returns next behind the breaker of each call's key.
func (g *Group) Wrap(next backstay.Func) backstay.Func {
	if g == nil || g.key.of == nil {
		panic("breaker: this Group was not made with NewGroup; breaker.NewGroup(breaker.Config{}, breaker.ByTarget) makes one")
	}
	return func(ctx context.Context, call *backstay.Call) error {
		return g.Breaker(g.key.of(ctx, call)).run(ctx, call, next)
	}
}

// Breaker returns the breaker of a key, which is made if there is none yet. Ask
// anew for each call, or it may be one that the group has dropped.
func (g *Group) Breaker(key string) *Breaker {
	if v, ok := g.m.Load(key); ok {
		m := v.(*member)
		if !m.used.Load() {
			m.used.Store(true)
		}
		return m.Breaker
	}
	return g.add(key)
}

// State returns the state of a key's breaker, which is Closed if there is
// none.
func (g *Group) State(key string) State {
	if v, ok := g.m.Load(key); ok {
		return v.(*member).State()
	}
	return Closed
}

// Blocks reports whether a key's breaker would turn a call away now. It makes
// none.
func (g *Group) Blocks(key string) bool {
	v, ok := g.m.Load(key)
	return ok && v.(*member).Blocks()
}

// All returns the breakers and their keys, in no order.
func (g *Group) All() iter.Seq2[string, *Breaker] {
	return func(yield func(string, *Breaker) bool) {
		g.m.Range(func(k, v any) bool { return yield(k.(string), v.(*member).Breaker) })
	}
}

// Forget drops the breaker of a key, such as an endpoint that is gone. Calls
// that are under way end as if it were still there.
func (g *Group) Forget(key string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.drop(key)
}

func (g *Group) drop(key string) {
	if _, ok := g.m.LoadAndDelete(key); ok {
		g.size--
	}
}

func (g *Group) add(key string) *Breaker {
	g.mu.Lock()
	defer g.mu.Unlock()
	if v, ok := g.m.Load(key); ok {
		return v.(*member).Breaker
	}
	if g.size >= maxBreakers && !g.makeRoom() {
		return g.beyond
	}
	m := &member{Breaker: g.fresh(key)}
	m.used.Store(true)
	g.m.Store(key, m)
	g.size++
	return m.Breaker
}

// makeRoom evicts the breakers that are closed and idle, and reports whether
// there were any.
func (g *Group) makeRoom() bool {
	now := clock.Now()
	if g.swept != 0 && now-g.swept <= g.idle {
		return false
	}
	g.swept = now
	before := g.size
	g.m.Range(func(k, v any) bool {
		if m := v.(*member); !m.used.Swap(false) && m.State() == Closed {
			g.drop(k.(string))
		}
		return true
	})
	return g.size < before
}
