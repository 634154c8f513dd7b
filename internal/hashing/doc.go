// Package hashing maps keys to members so that two processes map a key alike,
// and few keys move when a member comes or goes. It knows names and weights,
// and nothing of calls or health.
//
//	members := []hashing.Member{{Name: "10.0.0.1:80", Weight: 1}, {Name: "10.0.0.2:80", Weight: 1}, {Name: "10.0.0.3:80", Weight: 2}}
//	ring := hashing.NewRing(members)
//	pos := ring.Find(hashing.Sum("customer 7"))
//	owner := ring.At(pos)
//	for ring.At(pos) == owner {
//		pos = ring.Next(pos)
//	}
//	fmt.Println(members[owner].Name, "or", members[ring.At(pos)].Name)
//
// A lookup returns the index of a member in the slice that was given. To pass
// over a member that is down leaves what was built as it is: the caller goes on
// to the next candidate, and keys come home when the member is back.
//
// # Which one
//
//   - A Ring moves the keys of the member that comes or goes, and no others, and
//     a lookup looks at one or two points however many members there are. Shares
//     are as uneven as 256 random points make them: of 100 members, the busiest
//     has 1.16 times the mean.
//   - A Maglev has even shares and the cheapest lookup, but a change moves up to
//     1 % of the keys between members that stay, and all is built anew.
//   - A Rendezvous moves no other keys, has even shares with any weights, and
//     nothing to build, but a lookup looks at every member.
//
// # What is fixed
//
// Who owns a key follows from the hash of the key, and from the names and
// weights of the members: not from their order, what was there before, or the
// machine. A change of any of it moves keys in every program that is updated
// while others are not yet, so it is a breaking change, and the tests hold it
// with golden vectors.
package hashing
