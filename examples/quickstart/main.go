// Quickstart sends the same transfers to the same five sick replicas three
// times: with a bare http.Client, with the retry loop that everybody writes,
// and with backstay. It needs nothing but Go:
//
//	go run ./examples/quickstart
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/httpcall"
	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/loadbalance"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/telemetry"
	"github.com/backstay-go/backstay/timeout"
)

func main() {
	bank := startBank()
	defer bank.stop()
	bank.introduce()

	spans := newSpans()
	policy := surviving(bank.addresses())
	printTable([]result{
		bank.measure("http.Client", bare(bank)),
		bank.measure("with a loop", loop(bank)),
		bank.measure("backstay", under(policy, spans)),
	})
	printPolicy(policy)
	spans.printLongest(bank)
}

// A send transfers 100 dollars, and reports whether that is known to have
// worked.
type send func(ctx context.Context, transfer string) error

// bare is a client as the standard library gives it, with a timeout.
func bare(b *bank) send {
	client := &http.Client{Timeout: time.Second}
	return func(ctx context.Context, transfer string) error {
		return post(ctx, client, "http://"+b.next(), transfer)
	}
}

// loop tries three times, elsewhere each time. It cannot know whether a failed
// attempt has moved the money.
func loop(b *bank) send {
	client := &http.Client{Timeout: time.Second}
	return func(ctx context.Context, transfer string) (err error) {
		for range 3 {
			if err = post(ctx, client, "http://"+b.next(), transfer); err == nil {
				return nil
			}
		}
		return err
	}
}

// surviving is what this module is for: what happens to a call, from the
// outside in.
func surviving(addresses []string) *backstay.Policy {
	return backstay.New(
		idempotency.Keys(idempotency.KeysConfig{}),
		timeout.Call(time.Second),
		retry.New(retry.Config{MaxAttempts: 5, Budget: retry.NewBudget(retry.BudgetConfig{PerSecond: 50})}),
		loadbalance.New(loadbalance.RoundRobin(), addresses...),
		breaker.NewGroup(breaker.Config{ConsecutiveFailures: 5}, breaker.ByEndpoint),
		timeout.Attempt(200*time.Millisecond),
	)
}

// under is a client like the others, with the policy in its transport.
func under(policy *backstay.Policy, spans *spans) send {
	policy = telemetry.Observe(policy, telemetry.Config{TracerProvider: spans.provider})
	client := &http.Client{Transport: httpcall.NewTransport(policy, httpcall.Config{})}
	return func(ctx context.Context, transfer string) error {
		return post(ctx, client, "http://bank.example", transfer)
	}
}

// post is the same for all three.
func post(ctx context.Context, client *http.Client, url, transfer string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/transfers", strings.NewReader(transfer))
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err = io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the bank answered %s", resp.Status)
	}
	return nil
}
