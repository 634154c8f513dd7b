package backstay

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"
)

// Traits say what a middleware does to calls and what it needs from the stack
// around it, so that a stack that cannot work is refused when it is built.
type Traits struct {
	// Repeats: makes further attempts of a call that failed, as retry does.
	Repeats bool
	// Forks: may make more than one attempt of a call, as retry and hedge do.
	Forks bool
	// Picks: gives attempts their Endpoint, as a balancer does.
	Picks bool

	// PerCall: works on whole calls, so it must not stand under a middleware
	// that forks.
	PerCall bool
	// PerAttempt: works on single attempts, so it must not stand above a
	// middleware that forks.
	PerAttempt bool
	// NeedsEndpoint: reads the Endpoint, so it stands under a middleware that
	// picks, or one that states no Traits and may.
	NeedsEndpoint bool
	// Judges: tells the callee's failures from the caller giving up, so it must
	// not stand under an attempt's timeout, which would look like the latter.
	Judges bool

	// CallTimeout and AttemptTimeout are the limits it sets; 0 for none.
	CallTimeout, AttemptTimeout time.Duration
	// Window is the time over which it judges attempts; 0 for none.
	Window time.Duration
}

// A Part is a Middleware that states its Traits.
type Part interface {
	Middleware
	Traits() Traits
}

// Check reports what is wrong with a stack of middleware, the outermost first:
// the error has a sentence for each fault, which says how to mend it. It is
// what New panics with, for those who build stacks from files.
func Check(stack ...Middleware) error {
	var faults []error
	parts := make([]part, 0, len(stack))
	for i, m := range flatten(nil, stack) {
		if missing(m) {
			faults = append(faults, fmt.Errorf("backstay: middleware %d of the policy is nil: leave it out", i+1))
			continue
		}
		p := part{name: name(m), middleware: m}
		if d, ok := m.(Part); ok {
			p.Traits, p.stated = d.Traits(), true
		}
		for _, above := range parts {
			if fault := clash(above, p); fault != "" {
				faults = append(faults, errors.New("backstay: "+fault))
			}
		}
		parts = append(parts, p)
	}
	for i, p := range parts {
		if p.NeedsEndpoint && !slices.ContainsFunc(parts[:i], part.mayPick) && !slices.ContainsFunc(parts[i:], part.picks) {
			faults = append(faults, fmt.Errorf("backstay: %s needs a balancer above it, to pick the endpoint; add one, or use breaker.ByTarget", p.name))
		}
	}
	return errors.Join(faults...)
}

// missing reports whether m is nil, or holds a nil pointer or function.
func missing(m Middleware) bool {
	v := reflect.ValueOf(m)
	return m == nil || (v.Kind() == reflect.Pointer || v.Kind() == reflect.Func) && v.IsNil()
}

type part struct {
	name       string
	middleware Middleware
	stated     bool // has Traits
	Traits
}

func (p part) picks() bool   { return p.Picks }
func (p part) mayPick() bool { return p.Picks || !p.stated }

// is reports whether p and q are one instance.
func (p part) is(q part) bool {
	return reflect.TypeOf(p.middleware).Kind() == reflect.Pointer && p.middleware == q.middleware
}

// clash says why below cannot stand under above, and how to mend it.
func clash(above, below part) string {
	a, b := above.name, below.name
	switch {
	case above.Judges && below.is(above):
		return fmt.Sprintf("%s is in the policy twice: it would count each call twice and turn its own probes away; keep one of them, or make another", a)
	case above.Repeats && below.Repeats:
		return fmt.Sprintf("%s is above %s: their attempts would multiply; keep one of them", a, b)
	case above.Forks && below.PerCall:
		return fmt.Sprintf("%s is under %s, which would give every attempt one of its own; move it above", b, a)
	case above.PerAttempt && below.Forks:
		return fmt.Sprintf("%s is above %s, where it sees only whole calls; move it under %s", a, b, b)
	case above.Picks && below.Picks:
		return fmt.Sprintf("%s is above %s, which would pick another endpoint; keep one of them", a, b)
	case above.NeedsEndpoint && below.Picks:
		return fmt.Sprintf("%s is above %s, which has not picked an endpoint yet; move it under %s", a, b, b)
	case above.Picks && below.Forks:
		return fmt.Sprintf("%s is above %s, so every attempt would go to one endpoint; move it under %s", a, b, b)
	case above.AttemptTimeout > 0 && below.Judges:
		return fmt.Sprintf("%s is above %s, which would take its timeouts for callers giving up; move it under %s", a, b, b)
	case above.CallTimeout > 0 && below.CallTimeout >= above.CallTimeout:
		return fmt.Sprintf("%s never fires, for %s above it ends the call by then; leave it out", b, a)
	case above.CallTimeout > 0 && below.AttemptTimeout >= above.CallTimeout:
		return fmt.Sprintf("%s never fires, for %s ends the whole call by then; make the attempt's shorter", b, a)
	case above.Window > 0 && below.AttemptTimeout > 0 && above.Window < 2*below.AttemptTimeout:
		return fmt.Sprintf("%s judges over %v, less than two attempts of %s; make the window at least %v", a, above.Window, b, 2*below.AttemptTimeout)
	}
	return ""
}
