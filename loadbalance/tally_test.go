package loadbalance

import (
	"testing"
	"time"
)

// L-18
func TestTallyIsOfTheLast5To10Seconds(t *testing.T) {
	const s = time.Second
	for _, row := range []struct {
		name   string
		failed []time.Duration
		at     time.Duration
		want   int64
	}{
		{"none", nil, 3 * s, 0},
		{"at once", []time.Duration{1 * s, 2 * s}, 2 * s, 2},
		{"over two halves", []time.Duration{1 * s, 6 * s}, 9 * s, 2},
		{"the half before, nothing since", []time.Duration{1 * s, 4 * s}, 9 * s, 2},
		{"two halves ago, nothing since", []time.Duration{1 * s, 4 * s}, 10 * s, 0},
		{"two halves ago, some since", []time.Duration{1 * s, 6 * s, 11 * s}, 12 * s, 2},
		{"long ago, some now", []time.Duration{1 * s, 6 * s, 31 * s}, 31 * s, 1},
		{"an odd number of halves ago", []time.Duration{6 * s, 9 * s, 21 * s}, 21 * s, 1},
		{"one that ended before the turn", []time.Duration{6 * s, 4 * s}, 6 * s, 2},
		{"read by one from before the turn", []time.Duration{1 * s, 6 * s}, 4 * s, 2},
	} {
		var n tally
		n.reset(0)
		for _, at := range row.failed {
			n.add(at, true)
			n.add(at, false)
		}
		if attempts, failures := n.read(row.at); failures != row.want || attempts != 2*row.want {
			t.Errorf("%s: read(%v) after failures at %v = %d of %d, want %d of %d", row.name, row.at, row.failed, failures, attempts, row.want, 2*row.want)
		}
	}
}
