package loadbalance

// SetTurn sets the counter of a RoundRobin or Weighted.
func (b *Balancer) SetTurn(turn uint32) {
	switch p := b.set.Load().root.(type) {
	case *rotation:
		p.turn.Store(turn)
	case *schedule:
		p.turn.Store(turn)
	}
}

// Turns returns how long the sequence of a Weighted is.
func (b *Balancer) Turns() int { return len(b.set.Load().root.(*schedule).view.Load().turns) }
