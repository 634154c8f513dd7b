package services

import (
	"testing"
	"time"
)

// Eventually tries f until it returns nil, for half a minute at most: a server
// has its own pace.
func Eventually(t testing.TB, f func() error) {
	t.Helper()
	end := time.Now().Add(30 * time.Second)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("after 30 s still: %v", err)
		}
		<-time.After(10 * time.Millisecond)
	}
}
