package backstay

// Fork returns an attempt of its own, with a copy of the request and no result
// yet. The caller passes it to the next Func and then ends it, with exactly one
// of Adopt and Discard, on every path, a panic's too.
//
// The error tells that the request cannot be sent again, say because its body
// has been used up; the first Fork of a call never fails.
func (c *Call) Fork() (*Call, error) {
	c.check()
	first := !c.forked && !c.sent
	f := c.child(c.self.fork())
	// The copy is made now, even if it may not be sent: a loser whose goroutine
	// starts late must not read the request of a caller who has it back. Should
	// that of the first fail, sending it will too, and tell.
	if err := f.self.ownRequest(); err != nil && !first {
		f.Discard(err)
		return nil, err
	}
	return f, nil
}

// child makes f an attempt of c.
func (c *Call) child(f *Call) *Call {
	f.Op, f.Target, f.Endpoint, f.IdempotencyKey = c.Op, c.Target, c.Endpoint, c.IdempotencyKey
	f.Attempt, f.Unsafe, f.Traced = 1, c.Unsafe, c.Traced
	f.parent, f.root = c, c.root
	c.forked = true
	c.live++
	return f
}

// Begin is for a middleware that makes attempts one after the other: it may
// make the first with the call itself and spare the Fork that hardly any call
// needs. The attempt has its own request; should it fail, Split makes
// it the fork that it was not, given what Begin returned.
func (c *Call) Begin() Mark {
	c.check()
	c.ended = 0
	m := Mark{onDone: c.onDone.n}
	if c.copies {
		m.request = c.self.begin()
	}
	return m
}

// A Mark remembers the state of a call when its first attempt began.
type Mark struct {
	onDone  int
	request any // nil where attempts have none of their own
}

// Split turns what c has done since Begin into a fork, as if Fork had been
// called then: its request, its result and its OnDone functions. c has its
// request as it was at Begin, and no result.
func (c *Call) Split(m Mark) *Call {
	c.check()
	f := c.child(c.self.split(m.request))
	f.sent, f.barred, f.moved, f.began, f.ended = c.sent, c.barred, c.moved, c.began, c.ended
	f.sentBelow.Store(c.sentBelow.Load())
	for i := m.onDone; i < c.onDone.n; i++ {
		f.onDone.add(c.onDone.at(i))
	}
	c.onDone.truncate(m.onDone)
	c.sentBelow.Store(f.Sent())
	c.sent, c.barred, c.moved, c.ended = false, false, false, 0
	return f
}

// Adopt ends the fork f and makes its result, its Endpoint and its OnDone
// functions those of c, which f was forked from.
func (c *Call) Adopt(f *Call) {
	c.check()
	f.check()
	if f.parent != c {
		panic("backstay: Adopt of a call that was not forked from this one")
	}
	c.Endpoint = f.Endpoint
	c.barred, c.moved = f.barred, f.moved
	c.ended = f.ended
	c.onDone.take(&f.onDone)
	c.self.adopt(f)
	if f.live > 0 {
		f.release() // which gives c back when the last fork of f has ended
		return
	}
	c.live--
	if poison {
		f.poison()
		return
	}
	c.self.keep(f)
}

// Discard ends a fork that nobody will use: its result is released, and its
// OnDone functions are given err. It may be called from another goroutine than
// that of the call it was forked from, and after that call's end.
func (c *Call) Discard(err error) {
	c.check()
	if c.parent == nil {
		panic("backstay: Discard of a call that is not a fork")
	}
	defer c.release()
	defer c.onDone.run(err)
	c.self.dropResult()
}

// release ends c for its owner. The memory of c is given back once none of its
// forks is alive, for they know it and the calls above.
//
// Most calls have adopted every fork by then, which only their own goroutine
// has to know. Otherwise each living fork gives its reference back when it has
// ended, and whoever gives the last one back ends c.
func (c *Call) release() {
	if poison {
		c.poison()
	}
	if c.live == 0 || c.refs.Add(c.live) == 0 {
		c.end()
	}
}

// unref is a fork giving its reference back to its parent. refs is below zero
// until the parent has added those that live at its own end.
func (c *Call) unref() {
	if c.refs.Add(-1) == 0 {
		c.end()
	}
}

// end gives the memory of c to the next call, unless misuse is to be caught,
// and c's reference back to its parent.
func (c *Call) end() {
	p := c.parent
	if !poison {
		c.reset()
		c.self.clear()
		c.self.recycle()
	}
	if p != nil {
		p.unref()
	}
}

// reset makes c as new, except for what every call sets. It writes no more
// than it has to: a store costs more than a look.
func (c *Call) reset() {
	if c.forked {
		c.sentBelow.Store(false)
	}
	c.state = state{}
	c.Unsafe, c.Traced = false, false
	if c.parent != nil {
		c.parent, c.root = nil, c
	}
	if c.Endpoint != "" {
		c.Endpoint = ""
	}
	if c.IdempotencyKey != "" {
		c.IdempotencyKey = ""
	}
	if c.Target != "" {
		c.Target = ""
	}
	if c.shared.dirty {
		c.shared.reset()
	}
}

// poison makes a read of any field of an ended call visible, to people by its
// value and to the race detector by the write.
func (c *Call) poison() {
	const ended = "backstay: Call used after its end"
	c.Op, c.Target, c.Endpoint, c.IdempotencyKey = ended, ended, ended, ended
	c.Attempt = -1
	c.dead = true
}
