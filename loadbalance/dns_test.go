package loadbalance_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay-go/backstay/loadbalance"
)

// Types of DNS records.
const (
	typeA    = 1
	typeAAAA = 28
	typeSRV  = 33
)

// A zone is the records of a DNS server, by "type name". A name that it does not
// have is unknown to it.
type zone struct {
	mu      sync.Mutex
	records map[string][][]byte
	asked   []string
}

func (z *zone) set(kind int, name string, records ...[]byte) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.records == nil {
		z.records = map[string][][]byte{}
	}
	z.records[fmt.Sprint(kind, " ", name)] = records
}

// resolver returns what asks the server, over a pipe and never a network.
func (z *zone) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go z.serve(server)
		return client, nil
	}}
}

// serve answers queries, each with its length before it as over TCP.
func (z *zone) serve(conn net.Conn) {
	defer conn.Close()
	for {
		var length [2]byte
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}
		reply := z.answer(query)
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)); err != nil {
			return
		}
	}
}

// answer returns the reply to a query of one question. RFC 1035, section 4.1.
func (z *zone) answer(query []byte) []byte {
	end := 12
	var name strings.Builder
	for query[end] != 0 {
		n := int(query[end])
		name.Write(query[end+1 : end+1+n])
		name.WriteByte('.')
		end += 1 + n
	}
	kind := int(binary.BigEndian.Uint16(query[end+1:]))
	end += 5
	z.mu.Lock()
	defer z.mu.Unlock()
	z.asked = append(z.asked, fmt.Sprint(kind, " ", name.String()))
	records, known := z.records[fmt.Sprint(kind, " ", name.String())]
	const unknown = 3
	flags := uint16(0x8580) // a reply, authoritative, recursion desired and available
	if !known {
		flags |= unknown
	}
	reply := append([]byte(nil), query[:2]...)
	for _, v := range []uint16{flags, 1, uint16(len(records)), 0, 0} {
		reply = binary.BigEndian.AppendUint16(reply, v)
	}
	reply = append(reply, query[12:end]...)
	for _, r := range records {
		reply = append(reply, 0xc0, 12) // the name of the question
		reply = binary.BigEndian.AppendUint16(reply, uint16(kind))
		reply = binary.BigEndian.AppendUint16(reply, 1)
		reply = binary.BigEndian.AppendUint32(reply, 60)
		reply = binary.BigEndian.AppendUint16(reply, uint16(len(r)))
		reply = append(reply, r...)
	}
	return reply
}

func ip(s string) []byte { return netip.MustParseAddr(s).AsSlice() }

func srv(priority, weight, port uint16, target string) (record []byte) {
	for _, v := range []uint16{priority, weight, port} {
		record = binary.BigEndian.AppendUint16(record, v)
	}
	for _, label := range strings.FieldsFunc(target, func(r rune) bool { return r == '.' }) {
		record = append(append(record, byte(len(label))), label...)
	}
	return append(record, 0)
}

// list writes endpoints as "address*weight", without the weight if that is 0.
func list(endpoints []loadbalance.Endpoint) string {
	var words []string
	for _, e := range endpoints {
		word := e.Address
		if e.Weight != 0 {
			word += fmt.Sprint("*", e.Weight)
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// L-24
func TestDNSFindsAnEndpointAtEachAddress(t *testing.T) {
	var z zone
	z.set(typeA, "orders.test.", ip("10.0.0.2"), ip("10.0.0.1"), ip("10.0.0.2"))
	z.set(typeAAAA, "orders.test.", ip("fd00::1"))
	z.set(typeA, "v4.test.", ip("10.0.0.3"))
	z.set(typeAAAA, "v4.test.")
	for _, row := range []struct{ host, network, want string }{
		{"orders.test.", "", "10.0.0.1:80 10.0.0.2:80 [fd00::1]:80"},
		{"orders.test.", "ip", "10.0.0.1:80 10.0.0.2:80 [fd00::1]:80"},
		{"orders.test.", "ip4", "10.0.0.1:80 10.0.0.2:80"},
		{"orders.test.", "ip6", "[fd00::1]:80"},
		{"v4.test.", "", "10.0.0.3:80"},
		{"192.0.2.1", "", "192.0.2.1:80"},
		{"::ffff:192.0.2.1", "", "192.0.2.1:80"},
	} {
		d := loadbalance.DNS{Host: row.host, Port: 80, Network: row.network, Resolver: z.resolver()}
		endpoints, err := d.Resolve(t.Context())
		if got := list(endpoints); got != row.want || err != nil {
			t.Errorf("Resolve(%s, %q) = %s, %v, want %s", row.host, row.network, got, err, row.want)
		}
	}
}

func TestDNSTellsThatThereIsNoSuchHost(t *testing.T) {
	d := loadbalance.DNS{Host: "gone.test.", Port: 80, Resolver: new(zone).resolver()}
	endpoints, err := d.Resolve(t.Context())
	var dns *net.DNSError
	if !errors.As(err, &dns) || !dns.IsNotFound || len(endpoints) != 0 {
		t.Errorf("Resolve(gone.test.) = %v, %v, want a net.DNSError that says not found", endpoints, err)
	}
}

// L-24
func TestSRVFindsTheRecordsOfTheLowestPriority(t *testing.T) {
	const name = "_http._tcp.orders.test."
	for _, row := range []struct {
		records [][]byte
		want    string
	}{
		{[][]byte{srv(1, 10, 8080, "b.test."), srv(1, 20, 8081, "a.test."), srv(2, 5, 80, "spare.test.")}, "a.test:8081*20 b.test:8080*10"},
		{[][]byte{srv(0, 0, 80, "a.test."), srv(0, 0, 80, "b.test.")}, "a.test:80*1 b.test:80*1"},
		{[][]byte{srv(0, 65535, 80, "a.test."), srv(0, 1, 81, "a.test.")}, "a.test:80*65535 a.test:81*1"},
		{[][]byte{srv(0, 1, 80, "a.test."), srv(0, 3, 80, "a.test.")}, "a.test:80*3"},
		{[][]byte{srv(9, 1, 80, "a.test.")}, "a.test:80*1"},
		{[][]byte{srv(0, 1, 80, "no name.test."), srv(0, 1, 80, "a.test.")}, "a.test:80*1"},
	} {
		var z zone
		z.set(typeSRV, name, row.records...)
		for _, s := range []loadbalance.SRV{{Service: "http", Proto: "tcp", Name: "orders.test."}, {Name: name}} {
			s.Resolver = z.resolver()
			endpoints, err := s.Resolve(t.Context())
			if got := list(endpoints); got != row.want || err != nil {
				t.Errorf("Resolve(%q) = %s, %v, want %s", row.records, got, err, row.want)
			}
		}
	}
}

func TestSRVThatSaysNo(t *testing.T) {
	var z zone
	z.set(typeSRV, "none.test.", srv(0, 0, 0, ".")) // RFC 2782
	for name, want := range map[string]string{
		"none.test.": "loadbalance: the SRV record of none.test. says that there is no such service",
		"gone.test.": "lookup gone.test.",
	} {
		endpoints, err := loadbalance.SRV{Name: name, Resolver: z.resolver()}.Resolve(t.Context())
		if err == nil || !strings.HasPrefix(err.Error(), want) || len(endpoints) != 0 {
			t.Errorf("Resolve(%s) = %v, %v, want the error %s", name, endpoints, err, want)
		}
	}
}

// prime has package net make the channels it keeps for all lookups, which must
// not be those of a bubble.
func prime(t *testing.T) {
	_, _ = new(zone).resolver().LookupHost(t.Context(), "prime.test.")
}

// L-6, L-24, L-25
func TestBalancerFollowsDNS(t *testing.T) {
	prime(t)
	synctest.Test(t, func(t *testing.T) {
		var z zone
		z.set(typeA, "orders.test.", ip("10.0.0.1"), ip("10.0.0.2"))
		b := loadbalance.NewBalancer(loadbalance.Config{})
		follow(t, b, loadbalance.DNS{Host: "orders.test.", Port: 80, Network: "ip4", Resolver: z.resolver()})
		pass(time.Second)
		first := b.Nodes()
		for i, step := range []struct {
			records [][]byte
			want    string
		}{
			{[][]byte{ip("10.0.0.2"), ip("10.0.0.1")}, "[10.0.0.1:80 10.0.0.2:80]"}, // in turn, as servers do
			{[][]byte{ip("10.0.0.1"), ip("10.0.0.3")}, "[10.0.0.1:80 10.0.0.3:80]"},
			{nil, "[10.0.0.1:80 10.0.0.3:80]"},
			{[][]byte{ip("10.0.0.4")}, "[10.0.0.4:80]"},
		} {
			z.set(typeA, "orders.test.", step.records...)
			pass(40 * time.Second)
			if got := fmt.Sprint(b.Addresses()); got != step.want {
				t.Errorf("step %d: Endpoints() = %s, want %s", i, got, step.want)
			}
			if failed := b.LookupStatus().Err != nil; failed != (len(step.records) == 0) {
				t.Errorf("step %d: LookupStatus().Err = %v with %d records", i, b.LookupStatus().Err, len(step.records))
			}
			if i < 2 && b.Nodes()[0] != first[0] {
				t.Errorf("step %d: 10.0.0.1 is another node, want the same", i)
			}
		}
	})
}

// A server that does not answer holds a lookup up for as long as its deadline.
func TestLookupOfADNSServerThatHangs(t *testing.T) {
	prime(t)
	synctest.Test(t, func(t *testing.T) {
		silent := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			client, server := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, server) }()
			return client, nil
		}}
		b := loadbalance.NewBalancer(loadbalance.Config{Wait: time.Minute})
		began := time.Now()
		follow(t, b, loadbalance.DNS{Host: "orders.test.", Port: 80, Resolver: silent})
		for b.LookupStatus().Err == nil {
			pass(time.Second)
		}
		if took := time.Since(began); took < 5*time.Second || took > 17*time.Second {
			t.Errorf("lookup failed after %v with %v, want 5s to 17s", took, b.LookupStatus().Err)
		}
	})
}
