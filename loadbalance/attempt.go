package loadbalance

import (
	"time"

	"github.com/backstay-go/backstay"
)

// An attempt is at a node.
type attempt struct {
	node    *Node
	began   time.Duration
	probe   bool  // the one that finds out whether the node is well again
	streams bool  // its answer may begin when something happens
	untimed bool  // how long it took says nothing about latency
	life    int64 // when the node had come back last
}

// A streaming request is one on which an answer may begin when something
// happens, and not when the work is done. Adapters such as grpccall make them.
type streaming interface{ Streams() bool }

// attempt returns an attempt of call at n that begins now.
func (n *Node) attempt(call *backstay.Call, now time.Duration, probe bool) attempt {
	s, ok := backstay.Peek[streaming](call)
	return attempt{node: n, began: now, probe: probe, streams: ok && s.Streams(), life: n.cameBack.Load()}
}

// begin counts the attempt in. A stream does not wait for its answer: for all
// that is known nothing has happened yet, and by its age it would look as if the
// endpoint hung.
func (a *attempt) begin() {
	if a.streams {
		a.node.enter()
		a.node.renew(a.began)
	} else {
		a.node.begin(a.began)
	}
}

// answered says that the attempt waits no more.
func (a *attempt) answered() {
	if !a.streams {
		a.node.answered(a.began)
	}
}

// prompt is the longest time in which an answer to a stream is one to the
// request, for all that is known, and its latency that of the endpoint.
const prompt = time.Second

// took returns how long the attempt took until at, and whether that is a latency.
func (a *attempt) took(at time.Duration) (took time.Duration, timed bool) {
	took = at - a.began
	if a.streams && took > prompt {
		return prompt, false
	}
	return took, !a.untimed
}
