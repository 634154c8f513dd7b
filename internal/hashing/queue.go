package hashing

import "slices"

// A turn is when a member may take a slot of a Maglev, and where it looks for
// one: its first choice, and the step to the next.
type turn struct {
	number, weight uint64 // turn 1, 2, ... is due at number/weight
	rank           int    // by name, for turns that are due together
	member         uint32
	slot, step     int
}

func (t *turn) before(u *turn) bool {
	due, other := t.number*u.weight, u.number*t.weight
	return due < other || due == other && t.rank < u.rank
}

// A queue is the heap of all members' turns, the next one first. The paper goes
// through the members in rounds, which with weights means rounds in which most
// have no turn.
type queue []turn

func newQueue(members []Member, size int) queue {
	q := make(queue, len(members))
	for rank, i := range byName(members) {
		m := members[i]
		hashes := newSequence(m.Name)
		q[rank] = turn{
			number: 1,
			weight: uint64(m.Weight),
			rank:   rank,
			member: i,
			slot:   int(hashes.hash(0) % uint64(size)),
			step:   int(hashes.hash(1)%uint64(size-1)) + 1,
		}
	}
	slices.SortFunc(q, func(a, b turn) int {
		if a.before(&b) {
			return -1
		}
		return 1
	})
	return q
}

// fix moves the first turn to where it belongs.
func (q queue) fix() {
	for i := 0; ; {
		next := 2*i + 1
		if next >= len(q) {
			return
		}
		if next+1 < len(q) && q[next+1].before(&q[next]) {
			next++
		}
		if !q[next].before(&q[i]) {
			return
		}
		q[i], q[next] = q[next], q[i]
		i = next
	}
}
