package idempotency

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/backstay-go/backstay/internal/httpreq"
)

// HandlerConfig describes a Handler. All but Tenant have a default.
type HandlerConfig struct {
	// Tenant returns whose request it is: an account, as it was authenticated by
	// a handler above this one. A key is known to its tenant alone, so no tenant
	// gets what another was answered. It must be the same for all attempts of a
	// request: an account, and not a token that is renewed between them.
	//
	// A request whose tenant is "" is refused with 403. OneTenant is for
	// handlers all of whose callers may see each other's answers.
	Tenant func(*http.Request) string

	// Format is how callers send their keys. The zero value is Standard, which
	// has them in quotes.
	Format Format

	// Methods are those of the requests that need a key. Others are passed on as
	// they are. nil means POST and PATCH.
	Methods []string

	// Optional passes on requests without a key, without protection. Otherwise
	// they are refused with 400.
	Optional bool

	// MaxBody is how many bytes the body of a request may have, which is held in
	// memory. Longer ones are refused with 413. 0 means 1 MiB.
	MaxBody int64

	// MaxAnswer is how many bytes the body of an answer may have to be kept. A
	// longer one is sent as it is written; who asks again gets 409 and is told
	// that it was done. 0 means 1 MiB.
	MaxAnswer int

	// Headers names headers of answers to keep beside those that describe the
	// body. Set-Cookie, Date and others that belong to one answer cannot be
	// kept. What every answer has, such as the headers of CORS, is for a handler
	// above this one to add.
	Headers []string

	// Release reports whether an answer with the status says that nothing was
	// done and that another attempt may succeed: it is not kept, and the key is
	// free again. nil means Released; with a Transactor, which has undone what
	// was done, also each status from 500 on.
	//
	// A status with which the handler gives up on work that may go on, or may
	// have been done, must not be one of these: 502 of an httputil.ReverseProxy,
	// or 503 of an http.TimeoutHandler, which belongs above this one. Only where
	// it is next itself does Handler refuse it.
	Release func(status int) bool
}

// OneTenant is the Tenant of all requests.
func OneTenant(*http.Request) string { return "all" }

// Released reports whether the status is one of 307, 308, 401, 403, 408, 409,
// 421, 425, 429, 502, 503 and 504: answers of a handler that has not begun the
// work, or is sure that it had no effect, and those that send the same request
// somewhere else.
func Released(status int) bool {
	switch status {
	case 307, 308, 401, 403, 408, 409, 421, 425, 429, 502, 503, 504:
		return true
	}
	return false
}

// Validate reports what is wrong with the config.
func (c HandlerConfig) Validate() error {
	if err := c.Format.Validate(); err != nil {
		return err
	}
	switch {
	case c.Tenant == nil:
		return errors.New("idempotency: without a Tenant one caller could get what another was answered; give a function that returns whose request it is, or OneTenant")
	case c.MaxBody < 0:
		return fmt.Errorf("idempotency: MaxBody is %d; give a number of bytes, or 0 for 1 MiB", c.MaxBody)
	case c.MaxAnswer < 0:
		return fmt.Errorf("idempotency: MaxAnswer is %d; give a number of bytes, or 0 for 1 MiB", c.MaxAnswer)
	}
	if c.Methods != nil && len(c.Methods) == 0 {
		return errors.New("idempotency: no Methods would leave all requests without protection; name some, or leave it out for POST and PATCH")
	}
	for _, m := range c.Methods {
		if m == "" || !isToken(m) || m != strings.ToUpper(m) {
			return fmt.Errorf("idempotency: %q cannot be a method; give names such as POST, whose case counts", m)
		}
	}
	for _, h := range c.Headers {
		if h == "" || !isToken(h) {
			return fmt.Errorf("idempotency: %q cannot be a header; give names such as X-Request-Id", h)
		}
		if httpreq.OfOneAnswer(h) {
			return fmt.Errorf("idempotency: the header %s belongs to one answer and is not for another; take it out of Headers", http.CanonicalHeaderKey(h))
		}
	}
	return nil
}

func (c HandlerConfig) defaults() HandlerConfig {
	c.Format = c.Format.defaults()
	if c.Methods == nil {
		c.Methods = []string{http.MethodPost, http.MethodPatch}
	}
	if c.MaxBody == 0 {
		c.MaxBody = 1 << 20
	}
	if c.MaxAnswer == 0 {
		c.MaxAnswer = 1 << 20
	}
	c.Headers = slices.Concat(kept, c.Headers)
	for i, h := range c.Headers {
		c.Headers[i] = http.CanonicalHeaderKey(h)
	}
	return c
}
