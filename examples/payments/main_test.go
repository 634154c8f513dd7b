package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/backstay-go/backstay/internal/leak"
	"github.com/backstay-go/backstay/internal/services"
)

func TestMain(m *testing.M) {
	if schema := os.Getenv(schemaVariable); schema != "" {
		serve(schema)
		return
	}
	os.Exit(m.Run())
}

// databases are the addresses that run is given. The test is skipped where there
// is no PostgreSQL.
var databases = map[string]func(testing.TB) string{
	"memory":     func(testing.TB) string { return "" },
	"PostgreSQL": func(t testing.TB) string { return services.Postgres(t).URL() },
}

func TestBackstayIsRightWhereTheLoopIsWrong(t *testing.T) {
	fates := draw()
	for name, database := range databases {
		t.Run(name, func(t *testing.T) {
			address := database(t)
			leak.Check(t)
			var out bytes.Buffer
			results, err := run(t.Context(), address, &out)
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
			// A process that is killed before the payment has not made it. One that
			// is cut off only has.
			harmless := []fate{fine, killBefore}
			if address == "" {
				harmless = harmless[:1]
			}
			loop, backstay := results[0], results[1]
			for i, f := range fates {
				want := 1
				if !slices.Contains(harmless, f) {
					want = 2
				}
				if n := loop.times()[order(i)]; n != want {
					t.Errorf("the loop has paid %d times for an order where the fate is %q, want %d", n, f, want)
				}
				if n := backstay.times()[order(i)]; n != 1 {
					t.Errorf("backstay has paid %d times for an order where the fate is %q, want 1", n, f)
				}
			}
			for _, r := range results {
				if r.lost != number/3 || r.deaths != 6 || r.confirmed != number {
					t.Errorf("%s: %d answers lost, %d deaths, %d payments confirmed, want %d, 6, %d", r.name, r.lost, r.deaths, r.confirmed, number/3, number)
				}
			}
			if want := strings.Repeat("1", number); !strings.Contains(out.String(), want) {
				t.Errorf("printed no line of %d ones, want one", number)
			}
		})
	}
}

func TestJudge(t *testing.T) {
	every := make([]int, number)
	for i := range every {
		every[i] = i
	}
	paid := func(orders ...int) result {
		r := result{confirmed: number}
		for _, i := range orders {
			r.entries = append(r.entries, payment{Amount: 1, For: order(i)})
		}
		return r
	}
	right, again := paid(every...), paid(slices.Concat(every, []int{7})...)
	unaware := right
	unaware.confirmed--
	rows := []struct {
		what           string
		loop, backstay result
		ok             bool
	}{
		{"the loop paid again", again, right, true},
		{"the loop is right by accident", right, right, false},
		{"backstay paid again", again, again, false},
		{"backstay lost a payment", again, paid(every[1:]...), false},
		{"backstay paid for one order in place of another", again, paid(slices.Concat(every[1:], []int{7})...), false},
		{"backstay does not know of a payment", again, unaware, false},
	}
	for _, r := range rows {
		if err := judge([]result{r.loop, r.backstay}); (err == nil) != r.ok {
			t.Errorf("judge, where %s = %v, want no error: %v", r.what, err, r.ok)
		}
	}
}

// A killer ends the run when the first K is written.
type killer struct{ end func() }

func (k killer) Write(p []byte) (int, error) {
	if string(p) == "K" {
		k.end()
	}
	return len(p), nil
}

func TestRunEndsWithItsContext(t *testing.T) {
	for name, database := range databases {
		t.Run(name, func(t *testing.T) {
			address := database(t)
			leak.Check(t)
			ctx, cancel := context.WithCancel(t.Context())
			if _, err := run(ctx, address, killer{cancel}); !errors.Is(err, context.Canceled) {
				t.Errorf("run = %v, want context.Canceled", err)
			}
		})
	}
}

func TestRunNeedsTheDatabaseItIsGiven(t *testing.T) {
	leak.Check(t)
	for _, address := range []string{"postgres://127.0.0.1:1/none?sslmode=disable", "no address"} {
		if _, err := run(t.Context(), address, killer{}); err == nil {
			t.Errorf("run with the database %q = nil, want an error", address)
		}
	}
}

func TestStopRemovesProcessAndSchema(t *testing.T) {
	for _, interrupted := range []bool{false, true} {
		address := services.Postgres(t).URL()
		leak.Check(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		p, err := startProcess(ctx, func(err error) { t.Errorf("the server failed: %v", err) }, address)
		if err != nil {
			t.Fatal(err)
		}
		if interrupted {
			cancel()
		}
		p.stop()
		if conn, err := net.Dial("tcp", p.addr); err == nil {
			conn.Close()
			t.Error("the server answers after stop, want it gone")
		}
		db, err := open(address, p.schema)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		var n int
		if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM pg_namespace WHERE nspname = $1", p.schema).Scan(&n); err != nil || n != 0 {
			t.Errorf("%d schemas left (%v), want none", n, err)
		}
	}
}

// Whichever way the process ends that started it, the server's standard input
// ends with it.
func TestServerEndsWithItsParent(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), databaseVariable+"="+services.Postgres(t).URL(), schemaVariable+"=none")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Errorf("the server said %q, %v, want its address", line, err)
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("the server ended with %v, want nil", err)
	}
}
