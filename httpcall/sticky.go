package httpcall

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"time"

	"github.com/backstay-go/backstay"
)

// StickyConfig describes a Sticky. It needs a Name.
type StickyConfig struct {
	// Name is that of the cookie, the same that ByCookie is given.
	Name string

	// MaxAge is how long clients keep the cookie, in whole seconds. 0 means as
	// long as the browser runs.
	MaxAge time.Duration

	// Secure says that clients send the cookie over https only, as they should
	// wherever they are served by https. It is implied for a request that came
	// in over TLS.
	Secure bool
}

// Validate reports what is wrong with the config.
func (c StickyConfig) Validate() error {
	switch {
	case c.Name == "":
		return fmt.Errorf("httpcall: Sticky needs the Name of a cookie, the same that ByCookie is given")
	case (&http.Cookie{Name: c.Name, Value: "v"}).Valid() != nil:
		return fmt.Errorf("httpcall: %q cannot be the Name of a cookie; take letters, digits and hyphens", c.Name)
	case c.MaxAge < 0 || c.MaxAge > 0 && c.MaxAge < time.Second:
		return fmt.Errorf("httpcall: MaxAge is %v; give a second at least, or 0 for as long as the browser runs", c.MaxAge)
	}
	return nil
}

// Sticky has a client's requests go to one endpoint, in a reverse proxy or a
// backend for a frontend, together with a hash strategy by the same cookie:
//
//	httpcall.Sticky(httpcall.StickyConfig{Name: "seat"}),
//	loadbalance.New(loadbalance.Hash(loadbalance.HashConfig{Key: httpcall.ByCookie("seat")}), replicas...),
//
// A request that has no such cookie gets one with a random value, which the
// endpoint sees too, and the response sets it: for all paths, HttpOnly and
// SameSite=Lax. The value tells nothing. One that the client sends, random or
// not, is hashed and neither looked up nor shown: whoever makes one up chooses
// an endpoint and no more. A response that is kept by a shared cache must not
// be given to clients without the cookie, or they all share it.
//
// It stands above retry, so that all attempts have one cookie.
//
// It panics if cfg is not valid.
func Sticky(cfg StickyConfig) backstay.Middleware {
	if err := cfg.Validate(); err != nil {
		panic(err.Error())
	}
	return &sticky{cfg}
}

type sticky struct{ cfg StickyConfig }

// String returns "sticky(name)".
func (s *sticky) String() string { return "sticky(" + s.cfg.Name + ")" }

// Traits states that the cookie is for the whole call.
func (s *sticky) Traits() backstay.Traits { return backstay.Traits{PerCall: true} }

// Wrap returns next with a cookie on each request.
func (s *sticky) Wrap(next backstay.Func) backstay.Func {
	return func(ctx context.Context, call *backstay.Call) error {
		if req, ok := backstay.Peek[*http.Request](call); !ok || cookie(req, s.cfg.Name) != "" {
			return next(ctx, call)
		}
		req, ok := backstay.Request[*http.Request](call) // a copy
		if !ok {
			return next(ctx, call) // which tells why there is none
		}
		c := s.make(req)
		req.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
		err := next(ctx, call)
		if resp, ok := backstay.Result[*http.Response](call); ok && resp != nil {
			if resp.Header == nil {
				resp.Header = http.Header{}
			}
			resp.Header.Add("Set-Cookie", c.String())
		}
		return err
	}
}

func (s *sticky) make(req *http.Request) *http.Cookie {
	return &http.Cookie{
		Name:     s.cfg.Name,
		Value:    rand.Text(),
		Path:     "/",
		MaxAge:   int(s.cfg.MaxAge / time.Second),
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
		Secure:   s.cfg.Secure || req.TLS != nil,
	}
}
