package telemetry

import (
	"net"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
)

// appendAddress appends the attributes for an authority such as
// "api.example.com:443". Without a port it is the given one; 0 for none.
func appendAddress(to []attribute.KeyValue, address, port attribute.Key, authority string, otherwise int) []attribute.KeyValue {
	if authority == "" {
		return to
	}
	host, n := splitAuthority(authority)
	to = append(to, address.String(host))
	if n == 0 {
		n = otherwise
	}
	if n != 0 {
		to = append(to, port.Int(n))
	}
	return to
}

// splitAuthority returns the host, an IPv6 address without its brackets, and
// the port, or 0 if there is none.
func splitAuthority(authority string) (host string, port int) {
	host, p, err := net.SplitHostPort(authority)
	if err != nil {
		return strings.TrimSuffix(strings.TrimPrefix(authority, "["), "]"), 0
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return host, 0
	}
	return host, int(n)
}
