package clock

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestReadingsDifferByTheTimeBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, at := Now(), At(time.Now())
		<-time.After(time.Second)
		if d := Now() - a; d != time.Second {
			t.Errorf("Now() - Now() = %v, want 1s", d)
		}
		if a != at {
			t.Errorf("At(time.Now()) = %d, want what Now() gave, %d", at, a)
		}
	})
}

func TestAReadingIsNever0(t *testing.T) {
	if At(epoch) == 0 {
		t.Error("At(epoch) = 0, want another")
	}
}
