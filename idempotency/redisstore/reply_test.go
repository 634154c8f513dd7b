package redisstore

import (
	"errors"
	"strings"
	"testing"
)

// What is not an answer of the script gives nobody the work.
func TestAnswerIsOneOfTheScripts(t *testing.T) {
	for _, reply := range []any{nil, "claimed", int64(1), []any{}, []any{nil}, []any{int64(1)}, []any{""}, []any{"OK"}, []any{"Claimed"}} {
		if a, ok := answer(reply); ok || a.State != 0 {
			t.Errorf("answer(%#v) = %v, %t, want none", reply, a.State, ok)
		}
	}
}

func TestCheckInfo(t *testing.T) {
	const good = "# Server\r\nredis_version:7.0.15\r\n# Memory\r\nmaxmemory_policy:noeviction\r\n# Replication\r\nrole:master\r\n"
	for _, row := range []struct{ old, changed, want string }{
		{"", "", ""},
		{"7.0.15", "5.0.0", ""},
		{"7.0.15", "10.1", ""},
		{"7.0.15", "4.0.14", "it is Redis 4.0.14"},
		{"7.0.15", "soon", "does not tell"},
		{"redis_version", "version", "does not tell"},
		{"maxmemory_policy", "policy", "does not tell"},
		{"role", "part", "does not tell"},
		{"noeviction", "allkeys-lfu", "is allkeys-lfu"},
		{"role:master", "role:slave", "it is a slave"},
		{good, "", "does not tell"},
	} {
		err := checkInfo(strings.Replace(good, row.old, row.changed, 1))
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("checkInfo with %q for %q = %v, want %q", row.changed, row.old, err, row.want)
		}
		if row.want == "does not tell" && !errors.Is(err, ErrUnchecked) {
			t.Errorf("checkInfo with %q for %q = %v, want ErrUnchecked", row.changed, row.old, err)
		}
	}
}
