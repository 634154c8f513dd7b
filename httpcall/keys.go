package httpcall

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/backstay-go/backstay"
)

// ByHeader returns a key for the hash strategies of a balancer: the value of the
// header, the first where there are several, or "" where there is none. "Host"
// is the host that the request is for.
func ByHeader(name string) func(ctx context.Context, call *backstay.Call) string {
	name = http.CanonicalHeaderKey(name)
	if name == "Host" {
		return byRequest(host)
	}
	return byRequest(func(req *http.Request) string {
		if values := req.Header[name]; len(values) > 0 {
			return values[0]
		}
		return ""
	})
}

// ByCookie returns a key for the hash strategies of a balancer: the value of the
// cookie that the request carries, or "" where it has none. Sticky gives one to
// clients that have none.
func ByCookie(name string) func(ctx context.Context, call *backstay.Call) string {
	return byRequest(func(req *http.Request) string { return cookie(req, name) })
}

// ByPath returns a key for the hash strategies of a balancer: the first segments
// of the path, without the query. ByPath(2) makes "/users/7" of
// "/users/7/orders?all"; 0 means the whole path.
func ByPath(segments int) func(ctx context.Context, call *backstay.Call) string {
	return byRequest(func(req *http.Request) string {
		if req.URL == nil {
			return ""
		}
		path := req.URL.Path
		for i, left := 1, segments; segments > 0 && i < len(path); i++ {
			if path[i] != '/' {
				continue
			}
			if left--; left == 0 {
				return path[:i]
			}
		}
		return path
	})
}

// ByClientAddr is a key for the hash strategies of a balancer: the address,
// without the port, of the client that the call is made for. It is that in the
// RemoteAddr of the request, which httputil.ReverseProxy passes on. Behind
// another proxy that is the proxy's, and a header tells the client's.
func ByClientAddr(_ context.Context, call *backstay.Call) string {
	req, ok := backstay.Peek[*http.Request](call)
	if !ok || req.RemoteAddr == "" {
		return ""
	}
	if client, _, err := net.SplitHostPort(req.RemoteAddr); err == nil {
		return client
	}
	if _, err := netip.ParseAddr(req.RemoteAddr); err == nil {
		return req.RemoteAddr
	}
	return "" // of a Unix socket, "@" for all clients
}

// byRequest makes a key of one that looks at requests. It is "" for other calls.
func byRequest(key func(req *http.Request) string) func(context.Context, *backstay.Call) string {
	return func(_ context.Context, call *backstay.Call) string {
		if req, ok := backstay.Peek[*http.Request](call); ok {
			return key(req)
		}
		return ""
	}
}

// host returns the value of the Host header that req is sent with.
func host(req *http.Request) string {
	if req.Host == "" && req.URL != nil {
		return req.URL.Host
	}
	return req.Host
}

// cookie returns the first value of the cookie that is not empty. The Cookie
// method of a request allocates.
func cookie(req *http.Request, name string) string {
	for _, line := range req.Header["Cookie"] {
		for line != "" {
			var pair string
			pair, line, _ = strings.Cut(line, ";")
			key, value, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
			if strings.Trim(key, " \t") != name {
				continue
			}
			if n := len(value); n > 1 && value[0] == '"' && value[n-1] == '"' {
				value = value[1 : n-1]
			}
			if value != "" {
				return value
			}
		}
	}
	return ""
}
