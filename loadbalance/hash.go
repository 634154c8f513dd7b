package loadbalance

import (
	"context"
	"errors"
	"fmt"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/internal/hashing"
)

// HashConfig describes a hash strategy. It needs a Key.
type HashConfig struct {
	// Key returns what decides where a call goes, such as a user's ID. Calls
	// for which it returns "" go to any endpoint. It may be asked several
	// times for an attempt, so it must be quick and always return the same.
	// Package httpcall has keys for requests.
	Key func(ctx context.Context, call *backstay.Call) string

	// Bound is how many times the mean of the calls in flight an endpoint may
	// have, by weight, before its keys go to the next, such as 1.25: a key that
	// everybody wants would otherwise break the endpoint that has it. 0 means no
	// bound.
	Bound float64

	// Strict has a key go to its endpoint only, though it is ejected, or the
	// attempt before failed there: for services where no other has the data.
	Strict bool
}

// Validate reports what is wrong with the config.
func (c HashConfig) Validate() error {
	switch {
	case c.Key == nil:
		return errors.New("loadbalance: a hash strategy needs a Key, such as httpcall.ByHeader(\"X-User\")")
	case c.Bound != 0 && !(c.Bound > 1):
		return fmt.Errorf("loadbalance: Bound is %v; give a factor above 1, such as 1.25, or 0 for no bound", c.Bound)
	case c.Bound != 0 && c.Strict:
		return errors.New("loadbalance: Bound sends keys elsewhere and Strict forbids it; leave one of them out")
	}
	return nil
}

// Hash gives each key to an endpoint by consistent hashing on a ring: when an
// endpoint comes or goes, only its own keys move. Where the endpoint is not
// well, or was tried, the call goes to the next on the ring, and the keys come
// home when it has recovered. Every process maps keys alike.
//
// With the same weights the most loaded of 100 endpoints has 1.2 times the mean.
// Maglev is more even and moves more keys. Where the mean weight is above 32, a
// weight that comes, goes or changes may move keys of others too: that is the
// price of a ring of bounded size.
//
// It panics if cfg is not valid.
func Hash(cfg HashConfig) Strategy {
	return hashStrategy("hash", cfg, func(before owners, members []hashing.Member) owners {
		if b, ok := before.(ring); ok {
			return ring{b.Update(members)}
		}
		return ring{hashing.NewRing(members)}
	})
}

// Rendezvous gives each key to the endpoint with the highest score for it: as
// even as drawing at random, and when an endpoint leaves its keys go to all
// others alike. It computes the score of each endpoint for each pick, so it is
// for some tens of endpoints.
//
// It panics if cfg is not valid.
func Rendezvous(cfg HashConfig) Strategy {
	return hashStrategy("rendezvous", cfg, func(_ owners, members []hashing.Member) owners {
		return rendezvous{hashing.NewRendezvous(members), len(members)}
	})
}

// Maglev gives keys to endpoints by a table of 65537 places, of which all have
// equally many: the most even of the hash strategies up to some hundreds of
// endpoints. When one comes or goes, a few keys of others move too, and the
// table is made anew, which takes some milliseconds.
//
// It panics if cfg is not valid.
func Maglev(cfg HashConfig) Strategy {
	return hashStrategy("maglev", cfg, func(_ owners, members []hashing.Member) owners {
		// The size does not follow the number of members: where it changed,
		// every key would move.
		return maglev{hashing.NewMaglev(members, 0)}
	})
}

func hashStrategy(name string, cfg HashConfig, build func(before owners, members []hashing.Member) owners) Strategy {
	if err := cfg.Validate(); err != nil {
		panic(err.Error())
	}
	if cfg.Bound > 0 {
		name = fmt.Sprintf("%s bounded by %v", name, cfg.Bound)
	}
	return Strategy{name: name, make: func(s site, nodes []*Node) picker {
		h := &hashed{site: s, cfg: cfg, nodes: nodes}
		members := make([]hashing.Member, len(nodes))
		for i, n := range nodes {
			members[i] = hashing.Member{Name: n.address, Weight: n.Endpoint().weight()}
		}
		var before owners
		if b, ok := s.before.(*hashed); ok {
			before = b.owners
		}
		h.owners = build(before, members)
		if cfg.Bound > 0 && len(nodes) > few {
			h.total = newTotal(nodes)
		}
		h.refresh()
		return h
	}}
}
