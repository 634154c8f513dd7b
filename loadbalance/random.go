package loadbalance

// Random draws an endpoint, by weight where there are weights. It needs no
// state and no coordination, and its load is uneven: of 100 calls at 10
// endpoints, some get 5 and some 15.
func Random() Strategy {
	return Strategy{name: "random", make: func(s site, nodes []*Node) picker {
		if evenly(nodes) {
			return newList(s, nodes, draw)
		}
		return newWeighing(s, nodes)
	}}
}

// draw returns one of some nodes, each as probable as the others, and those in
// their slow start less.
func draw(q query, among []*Node) *Node {
	n := among[q.index(len(among))]
	for range maxRedraws {
		if n.State() != Warming || !n.tooCold(q) {
			break
		}
		n = among[q.index(len(among))]
	}
	return n
}

// maxRedraws bounds how often a pick is drawn again because the node is passed
// over. Where a tenth of the nodes are, one pick in 10000 is drawn in vain.
const maxRedraws = 3

// evenly reports whether all nodes have the same weight.
func evenly(nodes []*Node) bool {
	for _, n := range nodes {
		if n.Endpoint().weight() != nodes[0].Endpoint().weight() {
			return false
		}
	}
	return true
}
