//go:build race

// Package race tells whether the race detector is on, under which counting
// allocations makes no sense.
package race

// Enabled reports whether the race detector is on.
const Enabled = true
