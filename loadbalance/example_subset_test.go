package loadbalance_test

import (
	"fmt"

	"github.com/backstay-go/backstay/loadbalance"
)

// Each of a thousand clients is connected to 20 endpoints of a fleet of 400, and
// each endpoint to 50 clients.
func ExampleSubset() {
	client := 17 // from the name of the pod, say
	s := loadbalance.Subset(loadbalance.SubsetConfig{Size: 20, Index: client}, loadbalance.PeakEWMA())
	fmt.Println(s)
	// Output: peak EWMA in a subset of 20
}
