package idempotency

import (
	"encoding/hex"
	"net/http/httptest"
	"strings"
	"testing"
)

// The hashes are the same in all versions: processes of two of them share a store
// while one replaces the other, and a record outlives both. With other
// fingerprints an attempt again gets 422, and with other IDs its work is done
// again. A test that fails here calls for a new major version, and not for new
// values. They were made by a shell:
//
//	part() { printf %016x ${#1} | xxd -r -p; printf %s "$1"; }
//	(part charge; part ''; part 100) | sha256sum
//	(part http; part POST; part /transfers/a%2Fb; part /transfers/a%2Fb; part 'a=1&b=2'; part application/json; part '{"amount":100}') | sha256sum
//	(part id; part payments; part acme; part k-1) | sha256sum
//
// I-18
func TestHashesAreTheSameInAllVersions(t *testing.T) {
	r := httptest.NewRequest("POST", "/transfers/a%2Fb?b=2&a=1", strings.NewReader("not this one"))
	r.Header.Set("Content-Type", "Application/JSON")
	for _, c := range []struct {
		name string
		hash [32]byte
		want string
	}{
		{
			"FingerprintOf(charge, nothing, 100)", FingerprintOf([]byte("charge"), nil, []byte("100")),
			"e029844a0a6b7d554b6412dc6cd472c8fc271c812646481ac4d9cd83f94d63ba",
		},
		{
			"fingerprint of a POST", fingerprint(r, []byte(`{"amount":100}`)),
			"0f3e2c9f696b96eff1a0ed46aeefb0dcb4d771afc83c359f66fa338ff70c0886",
		},
		{
			"ID of acme's k-1", idOf("payments", "acme", "k-1"),
			"5f93085593a1ad01c2dd1e71c2054bba98b76d74d3492680f54c1fde5e67418f",
		},
	} {
		if got := hex.EncodeToString(c.hash[:]); got != c.want {
			t.Errorf("%s = %s, want %s", c.name, got, c.want)
		}
	}
}
