package httpcall

import (
	"context"
	"net/http"

	"github.com/backstay-go/backstay/internal/httpreq"
)

// ask sends a copy of req, which has no body, to an endpoint, or to the base if
// endpoint is empty, outside of the policy, and returns the status of the
// response.
func (t *Transport) ask(ctx context.Context, req *http.Request, endpoint string) (status int, err error) {
	rt := t.base
	if endpoint != "" {
		at, done, err := t.endpoints.at(endpoint)
		if err != nil {
			return 0, err
		}
		defer t.endpoints.dropGone(endpoint)
		defer done(nil)
		rt = at
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends what discard could not
	resp, err := rt.RoundTrip(httpreq.Copy(req.WithContext(ctx)))
	if err == nil && resp == nil {
		err = errNoResponse(rt)
	}
	if err != nil {
		return 0, locate(endpoint, redact(err))
	}
	discard(resp)
	return resp.StatusCode, nil
}
