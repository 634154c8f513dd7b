package retry

import "time"

// Draw returns a function that gives the pauses of one call under b.
func Draw(b Backoff) func() time.Duration { return b.orDefault().fresh().NextBackOff }
