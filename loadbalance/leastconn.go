package loadbalance

// LeastConnections takes the one with fewer calls in flight of two endpoints
// drawn at random, relative to their weights.
//
// With few calls in flight it is hardly better than drawing, and an endpoint
// that fails fast looks idle to it: that is why failures eject. PeakEWMA is
// better wherever endpoints differ.
func LeastConnections() Strategy {
	return Strategy{name: "least connections", make: func(s site, nodes []*Node) picker {
		return newList(s, nodes, lessLoaded)
	}}
}

// LeastConnectionsOfAll takes the endpoint with the fewest calls in flight,
// relative to its weight. It looks at all of them for each pick, so it is for
// some tens of endpoints, and many clients that do the same meet at the one
// that has come last.
func LeastConnectionsOfAll() Strategy {
	return Strategy{name: "least connections of all", make: func(s site, nodes []*Node) picker {
		l := newList(s, nodes, leastLoaded)
		l.redraws = 0 // it would choose the same
		return l
	}}
}

func lessLoaded(q query, among []*Node) *Node {
	if len(among) == 1 {
		return among[0]
	}
	r := q.random()
	i, j := below(uint32(r), len(among)), below(uint32(r>>32), len(among)-1)
	if j >= i {
		j++ // two distinct ones, each pair as probable as the others
	}
	a, b := among[i], among[j]
	if b.crowd(q) < a.crowd(q) {
		return b
	}
	return a
}

func leastLoaded(q query, among []*Node) *Node {
	at := q.index(len(among)) // ties go to the first, so the first is drawn
	best := among[at]
	least := best.crowd(q)
	for i := range among {
		n := among[(at+i)%len(among)]
		if c := n.crowd(q); c < least {
			best, least = n, c
		}
	}
	return best
}

// crowd returns how full n would be with one more call.
func (n *Node) crowd(q query) float64 {
	scarcity := n.perWeight()
	if n.State() == Warming { // or the clock need not be read
		scarcity = n.scarcity(q.now())
	}
	return float64(n.InFlight()+1) * scarcity
}
