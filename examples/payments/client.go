package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/httpcall"
	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

// A client makes payments from its own account.
type client struct {
	name, account string
	pay           func(context.Context, payment) error
}

// loop tries again when it has no good answer, and waits a little longer each
// time. It cannot know whether a failed attempt has moved the money.
func loop(url string) client {
	c := &http.Client{Timeout: 2 * time.Second}
	return client{"with a loop", "ann", func(ctx context.Context, p payment) error {
		pause := 50 * time.Millisecond
		for {
			err := post(ctx, c, url, p)
			if err == nil || pause > 2*time.Second || ctx.Err() != nil {
				return err
			}
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
			pause *= 2
		}
	}}
}

// surviving tries again too, with the same key for all attempts of a payment.
func surviving(url string) client {
	policy := backstay.New(
		idempotency.Keys(idempotency.KeysConfig{}),
		timeout.Call(20*time.Second), // longer than the server takes to come back, and a lease
		retry.New(retry.Config{
			MaxAttempts: 20, // the time is to run out first
			// A third of all answers is lost here, and the usual budget is a
			// retry for every five calls.
			Budget: retry.NewBudget(retry.BudgetConfig{Ratio: 2}),
		}),
		timeout.Attempt(2*time.Second),
	)
	c := &http.Client{Transport: httpcall.NewTransport(policy, httpcall.Config{})}
	return client{"backstay", "bob", func(ctx context.Context, p payment) error {
		return post(ctx, c, url, p)
	}}
}

// post is the same for both.
func post(ctx context.Context, c *http.Client, url string, p payment) error {
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/payments", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("X-Account", p.From)
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusCreated {
		return fmt.Errorf("the API answered %s", resp.Status)
	}
	return nil
}

// payAll makes one payment after the other, each with its fate, and then looks
// into the ledger.
func (c client) payAll(ctx context.Context, w *wire, fates []fate, out io.Writer) (result, error) {
	r := result{client: c, deaths: w.server.deaths()}
	w.reset()
	fmt.Fprintf(out, "  %-12s", c.name)
	for i, f := range fates {
		fmt.Fprint(out, f.sign())
		w.next(f)
		err := c.pay(ctx, payment{From: c.account, To: "shop", Amount: 1, For: order(i)})
		if ctx.Err() != nil {
			fmt.Fprintln(out)
			return r, fmt.Errorf("stopped: %w", context.Cause(ctx))
		}
		if err == nil {
			r.confirmed++
		}
	}
	fmt.Fprintln(out)
	r.requests, r.lost, r.deaths = int(w.requests.Load()), int(w.lost.Load()), w.server.deaths()-r.deaths
	var err error
	r.entries, err = ledgerOf(ctx, w.url, c.account)
	fmt.Fprintf(out, "  %-12s%s\n\n", "  paid for", r.paidFor())
	return r, err
}

func order(i int) string { return fmt.Sprintf("order %d", i+1) }

// ledgerOf asks the API for the payments from an account.
func ledgerOf(ctx context.Context, url, account string) (all []payment, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/ledger", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Account", account)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the ledger cannot be read: %s", resp.Status)
	}
	return all, json.NewDecoder(resp.Body).Decode(&all)
}
