package idempotency

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// An Intent is something that somebody wants done once.
type Intent struct {
	// Scope is whose intent it is, such as a tenant.
	Scope string

	// Method and Route are what is done, such as POST and "/orders".
	Method, Route string

	// Body is what it is done with, in a canonical form: the same bytes for the
	// same meaning.
	Body []byte

	// ID tells this intent from another that looks the same, such as the number
	// of an order. It must come from whoever has the intent. It is needed.
	ID string
}

// minSecret is half of what RFC 2104, section 3, advises for SHA-256: 128 bits.
const minSecret = 16

// Derive returns the key of the intent: the same for the same intent, in all
// processes that have the secret and after a restart, and unpredictable to all
// others. It is an HMAC-SHA-256, cut to a UUID of version 8, which is short
// enough for all targets named here.
//
// It fails for an Intent without ID: its content alone does not make a key,
// because two purchases that look the same may both be meant. The secret must
// have at least 16 bytes.
func Derive(secret []byte, in Intent) (string, error) {
	if in.ID == "" {
		return "", errors.New("idempotency: the Intent has no ID, and two that look the same may both be meant; give it one that a retry has too, such as the number of the order")
	}
	if len(secret) < minSecret {
		return "", fmt.Errorf("idempotency: the secret has %d bytes; give at least %d", len(secret), minSecret)
	}
	return mac(secret, "intent", in.Scope, in.Method, in.Route, string(in.Body), in.ID), nil
}

// Child returns the key of a call that is made on behalf of a request which
// came with the key parent. The same request makes the same calls with the same
// keys, and the callee learns nothing about the parent.
//
// callSite tells the calls of one request apart, such as "charge" or
// "mail/customer". There is no child of an empty key: it is empty as well.
func Child(parent, callSite string) string {
	if parent == "" {
		return ""
	}
	return mac([]byte(parent), "child", callSite)
}

// mac returns the HMAC of the fields as a UUID of version 8: RFC 9562, section
// 5.8. Each field has its length before it, so that no two lists of fields are
// written alike.
func mac(secret []byte, fields ...string) string {
	h := hmac.New(sha256.New, secret)
	for _, f := range fields {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(f)))
		h.Write(n[:])
		h.Write([]byte(f))
	}
	return uuid([16]byte(h.Sum(nil)), 8)
}
