package hashing_test

import (
	"fmt"

	"github.com/backstay-go/backstay/internal/hashing"
)

// A key has an owner, and another should the first be down.
func Example() {
	members := []hashing.Member{{Name: "10.0.0.1:80", Weight: 1}, {Name: "10.0.0.2:80", Weight: 1}, {Name: "10.0.0.3:80", Weight: 2}}
	ring := hashing.NewRing(members)
	pos := ring.Find(hashing.Sum("customer 7"))
	owner := ring.At(pos)
	for ring.At(pos) == owner {
		pos = ring.Next(pos)
	}
	fmt.Println(members[owner].Name, "or", members[ring.At(pos)].Name)
	// Output: 10.0.0.2:80 or 10.0.0.3:80
}
