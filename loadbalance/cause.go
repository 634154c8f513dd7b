package loadbalance

import "fmt"

// A cause is why there is no node for a call.
type cause struct {
	text  string
	final bool // it is the same for the call when it is made again
	empty bool // there are no endpoints, for whatever call
}

// An explainer is a picker that knows causes of its own. The zero cause means
// none of them.
type explainer interface{ why(q query) cause }

// why returns why the set has no node for q.
func (s *set) why(q query) cause {
	if s.closed {
		return cause{text: "the balancer is closed", final: true}
	}
	if len(s.nodes) == 0 {
		return cause{text: "there are none", empty: true}
	}
	return why(s.root, s.nodes, q)
}

// why returns why a picker of some nodes has none for q.
func why(p picker, nodes []*Node, q query) cause {
	if len(nodes) == 0 {
		return cause{text: "there are none"}
	}
	if e, ok := p.(explainer); ok {
		if c := e.why(q); c.text != "" {
			return c
		}
	}
	if countPicked(nodes) == 0 {
		return cause{text: fmt.Sprintf("all %d are ejected or unhealthy", len(nodes))}
	}
	return cause{text: "the strategy found none for it"}
}
