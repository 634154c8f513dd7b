package httpcall

import (
	"context"
	"net/http"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/internal/httpreq"
)

// IsWrite reports whether the call is for something to be changed, by its
// method: all are but GET, HEAD, OPTIONS, TRACE and QUERY. What is no HTTP
// request counts as a write. It is for loadbalance.PrimaryReplica.
func IsWrite(_ context.Context, call *backstay.Call) bool {
	req, ok := backstay.Peek[*http.Request](call)
	if !ok {
		return true
	}
	switch httpreq.Method(req) {
	case "GET", "HEAD", "OPTIONS", "TRACE", "QUERY":
		return false
	}
	return true
}
