package loadbalance

// Random draws an endpoint, by weight where there are weights. It needs no
// state and no coordination, and its load is uneven: of 100 calls at 10
// endpoints, some get 5 and some 15.
func Random() Strategy {
	return Strategy{name: "random", make: func(s site, nodes []*Node) picker {
		if evenly(nodes) {
			return newList(s, nodes, draw)
		}
		return newSchedule(s, nodes, func(q query, turns int) int { return scale(q.random(), turns) })
	}}
}

// draw returns one of some nodes, each as probable as the others, and those in
// their slow start less.
func draw(q query, among []*Node) *Node {
	n := among[scale(q.random(), len(among))]
	for range 3 {
		if n.State() != Warming || !n.tooCold(q) {
			break
		}
		n = among[scale(q.random(), len(among))]
	}
	return n
}

// evenly reports whether all nodes have the same weight.
func evenly(nodes []*Node) bool {
	for _, n := range nodes {
		if n.Endpoint().weight() != nodes[0].Endpoint().weight() {
			return false
		}
	}
	return true
}
