//go:build !race

package backstay

const poison = false
