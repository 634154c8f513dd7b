package loadbalance

import "fmt"

// A State says whether an endpoint is picked.
type State uint32

// The states of an endpoint.
const (
	Available State = iota // picked
	Warming                // picked, less often: it is new or has recovered
	Ejected                // not picked: it failed too often
	Probing                // its time as Ejected is over; one call finds out whether it is well
	Unhealthy              // not picked: its active checks fail
	Gone                   // no longer an endpoint of the balancer; what it has is finished
)

var stateNames = [...]string{"available", "warming", "ejected", "probing", "unhealthy", "gone"}

// String returns the state in lower case.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("State(%d)", uint32(s))
}

// picked reports whether calls go to an endpoint in the state.
func (s State) picked() bool { return s <= Warming }
