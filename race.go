//go:build race

package backstay

// poison makes every Call that has ended unusable instead of reusing it.
const poison = true
