package grpccall

import (
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/backstay-go/backstay"
)

// unconnected says what it means that there was no connection. The text comes
// from this process, since nothing has come from elsewhere.
func (f *failure) unconnected(a *attempt) {
	text := f.status.Message()
	f.details.Class = backstay.Transient
	switch {
	case dropped(text):
		f.details.Class, f.details.Type, f.veto = backstay.Throttled, nameOf(codes.Unavailable), "server_veto"
	case badHandshake(text):
		f.details.Class, f.details.Type = backstay.Broken, "tls"
	case a.refused.Load():
		f.details.Type = notConnected
	case strings.Contains(text, "connection refused"):
		f.details.Type = "connection_refused"
	case strings.Contains(text, "no such host"):
		f.details.Type = "dns_not_found"
	default:
		f.details.Type = nameOf(codes.Unavailable)
	}
}

// dropped reports whether a balancer of gRPC's had the call dropped, as xDS and
// grpclb can be told to, to take load off. gRPC tells it in these words alone.
func dropped(text string) bool {
	return text == "RPC is dropped" || text == "request dropped by grpclb"
}

// badHandshake reports whether the two ends cannot agree on TLS or credentials,
// which another attempt will not mend. A handshake that took too long or was cut
// is not meant. That a server refuses the client's certificate may be heard of
// only after the handshake (TLS 1.3).
func badHandshake(text string) bool {
	_, why, found := strings.Cut(text, "authentication handshake failed: ")
	if !found {
		if _, why, found = strings.Cut(text, "remote error: tls: "); !found {
			return false
		}
	}
	for _, passing := range []string{"EOF", "deadline exceeded", "timeout", "canceled", "reset by peer", "broken pipe", "closed network connection", "connection refused", "internal error"} {
		if strings.Contains(why, passing) {
			return false
		}
	}
	return true
}
