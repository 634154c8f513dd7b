package loadbalance_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/backstay-go/backstay/loadbalance"
)

func TestNames(t *testing.T) {
	for _, row := range []struct {
		v    fmt.Stringer
		want string
	}{
		{loadbalance.Replica, "replica"}, {loadbalance.Primary, "primary"}, {loadbalance.Role(9), "Role(9)"},
		{loadbalance.Available, "available"}, {loadbalance.Warming, "warming"}, {loadbalance.Ejected, "ejected"},
		{loadbalance.Probing, "probing"}, {loadbalance.Unhealthy, "unhealthy"}, {loadbalance.Gone, "gone"}, {loadbalance.State(9), "State(9)"},
		{loadbalance.RoundRobin(), "round robin"}, {loadbalance.Weighted(), "weighted"}, {loadbalance.Random(), "random"},
		{loadbalance.LeastConnections(), "least connections"}, {loadbalance.LeastConnectionsOfAll(), "least connections of all"},
		{loadbalance.PeakEWMA(), "peak EWMA"},
		{loadbalance.New(loadbalance.PeakEWMA(), "a", "b"), "balance(peak EWMA over 2)"},
		{loadbalance.NewBalancer(loadbalance.Config{}), "balance(peak EWMA over 0)"},
	} {
		if got := row.v.String(); got != row.want {
			t.Errorf("String() = %s, want %s", got, row.want)
		}
	}
}

func TestAddressesHaveTheWeightOne(t *testing.T) {
	got := loadbalance.Endpoints("a", "b")
	if len(got) != 2 || got[0].Address != "a" || got[1].Address != "b" || got[0].Weight != 0 {
		t.Errorf("Endpoints(a, b) = %+v, want a and b with the default weight", got)
	}
	if got := loadbalance.Endpoints(); len(got) != 0 {
		t.Errorf("Endpoints() = %+v, want none", got)
	}
}

// H-48
func TestNoEndpointErrorTellsWhyLookupsFail(t *testing.T) {
	cause := errors.New("no such host")
	err := &loadbalance.NoEndpointError{Why: "there are none", Err: cause}
	if want := "loadbalance: no endpoint for the call: there are none: no such host"; err.Error() != want {
		t.Errorf("Error() = %s, want %s", err, want)
	}
	if errors.Is(err, cause) {
		t.Error("the error unwraps to that of the lookup, which says nothing about the callee")
	}
}
