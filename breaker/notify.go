package breaker

import (
	"slices"

	"github.com/backstay-go/backstay"
)

// tell reports changes to the observers of the call that caused them, and to
// OnChange.
func (b *Breaker) tell(call *backstay.Call, changes []Change) {
	if len(changes) == 0 {
		return
	}
	defer b.notify() // whatever an observer does
	if call == nil {
		return
	}
	for _, c := range changes {
		call.Emit(backstay.Event{Kind: backstay.EventState, Attempt: call.Attempt, Source: c.Name, From: c.From.String(), To: c.To.String(), Err: c.Cause})
	}
}

// notify tells OnChange what is queued, in order: where another goroutine is
// at it, or OnChange itself has made the change, that one goes on with these.
func (b *Breaker) notify() {
	for {
		c, ok := b.nextChange()
		if !ok {
			return
		}
		b.onChange(c)
	}
}

func (b *Breaker) nextChange() (c Change, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.notifying || len(b.queue) == 0 {
		return Change{}, false
	}
	c = b.queue[0]
	b.queue = slices.Delete(b.queue, 0, 1)
	b.notifying = true
	return c, true
}

// onChange calls OnChange. A panic of it is swallowed: an observer never
// changes what the call returns.
func (b *Breaker) onChange(c Change) {
	returned := false
	defer func() {
		panicked := recover() != nil
		b.mu.Lock()
		b.notifying = false
		b.mu.Unlock()
		if !returned && !panicked {
			b.notify() // runtime.Goexit: the loop above will not go on
		}
	}()
	b.cfg.OnChange(c)
	returned = true
}
