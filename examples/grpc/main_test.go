package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/backstay-go/backstay/internal/leak"
)

func TestBackstayIsRightWhereRetryPolicyIsWrong(t *testing.T) {
	leak.Check(t)
	var out bytes.Buffer
	results, err := run(t.Context(), &out)
	if err != nil {
		t.Fatalf("run = %v, want nil", err)
	}
	defer func() {
		if t.Failed() {
			t.Log(out.String())
		}
	}()
	if err := judge(results); err != nil {
		t.Errorf("judge = %v, want nil", err)
	}
	for _, r := range results {
		var asked int64
		for _, s := range r.servers {
			asked += s.asked.Load()
		}
		if bob := r.servers[1].failed.Load(); bob == 0 || asked < calls {
			t.Errorf("%s: %d calls arrived and bob failed %d, want at least %d and some", r.name, asked, bob, calls)
		}
	}
	turns, backstay := results[0], results[2]
	if n := turns.failures(); n == 0 {
		t.Error("gRPC without retries failed no calls, want some")
	}
	if ann, cleo := backstay.servers[0].asked.Load(), backstay.servers[2].asked.Load(); cleo > ann/2 {
		t.Errorf("backstay asked cleo, who is slow, %d times and ann %d times, want half of that at most", cleo, ann)
	}
	for _, want := range []string{"├─ bob", "UNAVAILABLE", "└─ ", "OK"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("printed no %q, want a trace of a call that was tried again", want)
		}
	}
}

func TestEveryKindOfCallIsMade(t *testing.T) {
	all := 0
	for _, kind := range []task{get, place, cancel, watch, bulk, chat} {
		if kind.often() == 0 {
			t.Errorf("%s.often() = 0, want some calls", kind.method)
		}
		all += kind.often()
	}
	if all != calls {
		t.Errorf("%d calls are of a kind, want all %d", all, calls)
	}
}

func TestJudge(t *testing.T) {
	placed := func(times int) result {
		r := result{placed: map[string]int{}}
		for i := range calls {
			for _, item := range meant(i) {
				r.placed[item] = 1
			}
		}
		r.placed[meant(1)[0]] = times
		return r
	}
	failing := placed(1)
	failing.failed = map[string][]error{"Get": {context.DeadlineExceeded}}
	rows := []struct {
		what           string
		grpc, backstay result
		ok             bool
	}{
		{"gRPC placed an order twice", placed(2), placed(1), true},
		{"gRPC is right by accident", placed(1), placed(1), false},
		{"backstay placed an order twice", placed(2), placed(2), false},
		{"backstay lost an order", placed(2), placed(0), false},
		{"backstay failed a call", placed(2), failing, false},
	}
	for _, r := range rows {
		if err := judge([]result{{}, r.grpc, r.backstay}); (err == nil) != r.ok {
			t.Errorf("judge, where %s = %v, want no error: %v", r.what, err, r.ok)
		}
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	leak.Check(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := run(ctx, &bytes.Buffer{}); !errors.Is(err, context.Canceled) {
		t.Errorf("run = %v, want context.Canceled", err)
	}
}
