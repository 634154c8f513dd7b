package transfers

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/internal/leak"
)

// A note is a test that counts its complaints.
type note struct {
	testing.TB
	complaints int
}

func (n *note) Helper()               {}
func (n *note) Errorf(string, ...any) { n.complaints++ }

// Without a key or without a guard the same run moves money twice: the proofs
// see what they are there to prevent.
func TestWithoutKeysMoneyIsMovedTwice(t *testing.T) {
	leak.Check(t)
	for name, client := range map[string]func(testing.TB) *http.Client{
		"a bare client that tries again": func(t testing.TB) *http.Client {
			c := &http.Client{Transport: &http.Transport{}}
			t.Cleanup(c.CloseIdleConnections)
			return c
		},
		"keys and a server that ignores them": newClient,
	} {
		t.Run(name, func(t *testing.T) {
			b := Bank{Ledger: NewMemory()}
			url := serve(t, &loser{next: http.HandlerFunc(b.transfer), share: loss, seed: 1})
			c := client(t)
			o := each(plan(1, 300), func(_ int, tr Transfer) error {
				for range 10 {
					if _, err := send(t.Context(), c, url, tr); err == nil {
						return nil
					}
				}
				return fmt.Errorf("no answer in 10 attempts")
			})
			n := &note{TB: t}
			found := audit(n, b.Ledger, o)
			t.Logf("of 300 transfers %d were made twice", found.twice)
			if found.twice < 15 || n.complaints == 0 {
				t.Errorf("audit found %d transfers made twice and complained %d times, want about 30, and complaints", found.twice, n.complaints)
			}
		})
	}
}

func TestAuditNoticesWhatIsWrong(t *testing.T) {
	tr := plan(1, 2)
	for _, row := range []struct {
		name    string
		entries []Transfer
		told    outcome
		wrong   bool
	}{
		{"made once", tr[:1], outcome{made: tr[:1]}, false},
		{"unknown, not made", nil, outcome{unknown: tr[:1]}, false},
		{"unknown, made", tr[:1], outcome{unknown: tr[:1]}, false},
		{"lost", nil, outcome{made: tr[:1]}, true},
		{"made twice", []Transfer{tr[0], tr[0]}, outcome{made: tr[:1]}, true},
		{"unknown, made twice", []Transfer{tr[0], tr[0]}, outcome{unknown: tr[:1]}, true},
		{"nobody's", tr, outcome{made: tr[:1]}, true},
		{"a client failed", tr[:1], outcome{made: tr[:1], failed: []error{idempotency.ErrMissing}}, true},
		{"another amount", []Transfer{{tr[0].ID, tr[0].From, tr[0].To, tr[0].Amount + 1}}, outcome{made: tr[:1]}, true},
	} {
		l := NewMemory()
		for _, e := range row.entries {
			if err := l.Apply(context.Background(), e); err != nil {
				t.Fatal(err)
			}
		}
		n := &note{TB: t}
		audit(n, l, row.told)
		if (n.complaints > 0) != row.wrong {
			t.Errorf("%s: audit complains %d times, want complaints: %v", row.name, n.complaints, row.wrong)
		}
	}
}

func TestPlanIsThatOfItsSeed(t *testing.T) {
	a, b, other := plan(1, 100), plan(1, 100), plan(2, 100)
	same := 0
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("plan(1) = %v and %v, want the same", a[i], b[i])
		}
		if a[i].From == a[i].To {
			t.Errorf("%v moves nothing", a[i])
		}
		if a[i] == other[i] {
			same++
		}
	}
	if same == len(a) {
		t.Error("plan(2) = plan(1), want another")
	}
}
