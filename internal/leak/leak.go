// Package leak finds goroutines that a test left behind.
package leak

import (
	"runtime"
	"strings"
	"testing"
	"time"
)

// Check fails the test if, when it ends, there are goroutines of this module,
// of net/http or of gRPC that were not there when Check was called. They have a second to
// go.
func Check(t testing.TB) {
	t.Helper()
	before := stacks()
	t.Cleanup(func() {
		var left []string
		for end := time.Now().Add(time.Second); time.Now().Before(end); <-time.After(5 * time.Millisecond) {
			left = left[:0]
			for id, stack := range stacks() {
				if _, old := before[id]; !old && matters(stack) {
					left = append(left, stack)
				}
			}
			if len(left) == 0 {
				return
			}
		}
		t.Errorf("%d goroutines left:\n\n%s", len(left), strings.Join(left, "\n\n"))
	})
}

// stacks returns the goroutines but this one, by their number.
func stacks() map[string]string {
	buf := make([]byte, 4<<20)
	all := strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")
	found := map[string]string{}
	for _, s := range all[1:] {
		id, _, _ := strings.Cut(strings.TrimPrefix(s, "goroutine "), " ")
		found[id] = s
	}
	return found
}

// matters reports whether a goroutine is one to look for. One that has only
// been created does not show yet what it will do.
func matters(stack string) bool {
	return strings.Contains(stack, "backstay-go/backstay") || strings.Contains(stack, "net/http.") || strings.Contains(stack, "google.golang.org/grpc")
}
