package transfers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/httpcall"
	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

// newClient returns the client of the bank's users. It ends with the test.
func newClient(t testing.TB) *http.Client {
	policy := backstay.New(
		idempotency.Keys(idempotency.KeysConfig{}),
		timeout.Call(30*time.Second),
		// Of 10 000 transfers, with one answer in ten lost, 3 attempts would leave
		// 10 without an answer.
		retry.New(retry.Config{MaxAttempts: 10}),
		timeout.Attempt(10*time.Second),
	)
	c := &http.Client{Transport: httpcall.NewTransport(policy, httpcall.Config{})}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// idHeader has the ID of the transfer, for those who see only the header.
const idHeader = "X-Transfer"

// send sends the transfer to the bank at url and returns nil if it was made,
// and whether the answer is a replay.
func send(ctx context.Context, c *http.Client, url string, t Transfer) (replayed bool, err error) {
	req, body, err := newRequest(ctx, url, t)
	if err != nil {
		return false, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	if err := idempotency.ResponseError(resp); err != nil {
		return false, err
	}
	got, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return false, err
	case resp.StatusCode != http.StatusCreated:
		return false, fmt.Errorf("status %d: %.100s", resp.StatusCode, got)
	case !bytes.Equal(bytes.TrimSpace(got), body):
		return false, fmt.Errorf("the answer is %.100s, want %s", got, body)
	}
	return resp.Header.Get("Idempotent-Replayed") == "true", nil
}

// newRequest returns the request for the transfer, and its body.
func newRequest(ctx context.Context, url string, t Transfer) (*http.Request, []byte, error) {
	body, err := json.Marshal(t)
	if err != nil {
		return nil, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(idHeader, t.ID)
	return req, body, nil
}

// insist sends the transfer under one key until it is made, or until nobody
// knows, as an application does whose users wait for the end of an outage.
func insist(ctx context.Context, c *http.Client, url string, t Transfer) error {
	ctx = idempotency.NewContext(ctx)
	for {
		_, err := send(ctx, c, url, t)
		if err == nil || errors.Is(err, idempotency.ErrOutcomeUnknown) {
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s is not settled: %w", t.ID, err)
		}
	}
}
