package loadbalance

import (
	"math"

	"github.com/backstay-go/backstay/internal/hashing"
)

// owners is the order in which endpoints come for a hash.
type owners interface {
	// find returns the place of the owner, and its index.
	find(hash uint64) (place, index int)
	// next returns what comes after a place. The same endpoint may come again.
	next(hash uint64, place int) (after, index int)
}

type ring struct{ *hashing.Ring }

func (r ring) find(hash uint64) (place, index int) {
	place = r.Find(hash)
	return place, r.At(place)
}

func (r ring) next(_ uint64, place int) (after, index int) {
	after = r.Next(place)
	return after, r.At(after)
}

type maglev struct{ *hashing.Maglev }

func (m maglev) find(hash uint64) (place, index int) { return 0, m.At(hash) }

func (m maglev) next(hash uint64, place int) (after, index int) {
	return place + 1, m.Probe(hash, place+1)
}

type rendezvous struct {
	*hashing.Rendezvous
	members int
}

func (r rendezvous) find(hash uint64) (place, index int) { return r.highest(hash, math.MaxUint64) }

func (r rendezvous) next(hash uint64, place int) (after, index int) {
	return r.highest(hash, r.Score(hash, place))
}

// highest returns the endpoint with the highest score below a limit.
func (r rendezvous) highest(hash, limit uint64) (place, index int) {
	most := uint64(0)
	for i := range r.members {
		if score := r.Score(hash, i); score >= most && score < limit {
			index, most = i, score
		}
	}
	return index, index
}
