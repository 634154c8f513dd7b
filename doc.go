// Package backstay makes calls between services survive.
package backstay
