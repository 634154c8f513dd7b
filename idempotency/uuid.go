package idempotency

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"time"
)

// UUIDv4 returns a random key from crypto/rand: RFC 9562, section 5.4.
func UUIDv4() string {
	var u [16]byte
	_, _ = rand.Read(u[:]) // never fails
	return uuid(u, 4)
}

// UUIDv7 returns a random key that begins with the time, which helps the
// indexes of a database and tells everybody when it was made: RFC 9562,
// section 5.7.
func UUIDv7() string {
	var u [16]byte
	binary.BigEndian.PutUint64(u[:], uint64(time.Now().UnixMilli())<<16)
	_, _ = rand.Read(u[6:]) // never fails
	return uuid(u, 7)
}

// uuid returns the text of u as a UUID of the version: RFC 9562, section 4.
func uuid(u [16]byte, version byte) string {
	u[6] = u[6]&0x0f | version<<4
	u[8] = u[8]&0x3f | 0x80
	var text [36]byte
	hex.Encode(text[0:], u[0:4])
	hex.Encode(text[9:], u[4:6])
	hex.Encode(text[14:], u[6:8])
	hex.Encode(text[19:], u[8:10])
	hex.Encode(text[24:], u[10:16])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return string(text[:])
}
