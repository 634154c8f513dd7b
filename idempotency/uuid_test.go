package idempotency

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func isUUID(key string, version string) bool {
	return regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-` + version + `[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(key)
}

// I-2: RFC 9562, sections 5.4 and 5.7.
func TestKeysAreUUIDs(t *testing.T) {
	for _, c := range []struct {
		version string
		make    func() string
	}{{"4", UUIDv4}, {"7", UUIDv7}} {
		all := map[string]bool{}
		for range 1000 {
			key := c.make()
			if !isUUID(key, c.version) || all[key] {
				t.Fatalf("UUIDv%s() = %q, want a new UUID of version %s", c.version, key, c.version)
			}
			all[key] = true
		}
	}
}

// I-2: each bit that neither the version nor the time fixes is random.
func TestUUIDsAreRandomInTheirOtherBits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // time stands still
		for _, c := range []struct {
			name  string
			make  func() string
			fixed string // as '='; '?' has 4 values
		}{
			{"UUIDv4", UUIDv4, "        =    ==   =?   =            "},
			{"UUIDv7", UUIDv7, "===============   =?   =            "},
		} {
			var digits [36]map[byte]bool
			for i := range digits {
				digits[i] = map[byte]bool{}
			}
			for range 1000 {
				key := c.make()
				for i := range digits {
					digits[i][key[i]] = true
				}
			}
			for i, seen := range digits {
				if want := map[byte]int{'=': 1, '?': 4, ' ': 16}[c.fixed[i]]; len(seen) != want {
					t.Errorf("%s has %d different digits at %d, want %d", c.name, len(seen), i, want)
				}
			}
		}
	})
}

// I-2: a UUIDv7 tells when it was made.
func TestUUIDv7BeginsWithTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := UUIDv7()
		<-time.After(time.Millisecond)
		second := UUIDv7()
		ms, err := strconv.ParseInt(strings.ReplaceAll(first[:13], "-", ""), 16, 64)
		if want := time.Now().UnixMilli() - 1; err != nil || ms != want {
			t.Errorf("UUIDv7() begins with %d, %v, want %d", ms, err, want)
		}
		if first >= second {
			t.Errorf("UUIDv7() = %q, then %q a millisecond later, want it greater", first, second)
		}
	})
}
