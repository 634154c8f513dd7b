package loadbalance

// WhileLocked calls f while the balancer's mutex is held.
func (b *Balancer) WhileLocked(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}
