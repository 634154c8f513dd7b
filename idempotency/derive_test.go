package idempotency

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
)

var secret = []byte("0123456789abcdef")

func derive(t *testing.T, secret []byte, in Intent) string {
	t.Helper()
	key, err := Derive(secret, in)
	if err != nil || !isUUID(key, "8") {
		t.Fatalf("Derive(%+v) = %q, %v, want a UUID of version 8", in, key, err)
	}
	return key
}

// I-6
func TestDerivedKeysDifferWhereTheIntentsDo(t *testing.T) {
	base := Intent{Scope: "shop", Method: "POST", Route: "/orders", Body: []byte("tea"), ID: "1"}
	same := base
	same.Body = []byte("tea")
	if a, b := derive(t, secret, base), derive(t, secret, same); a != b {
		t.Errorf("Derive of one intent = %q and %q, want the same", a, b)
	}
	from := map[string]string{derive(t, secret, base): "base"}
	distinct := func(name string, secret []byte, in Intent) {
		key := derive(t, secret, in)
		if other, ok := from[key]; ok {
			t.Errorf("%s has the key of %s", name, other)
		}
		from[key] = name
	}
	for name, change := range map[string]func(*Intent){
		"scope":  func(in *Intent) { in.Scope = "bar" },
		"method": func(in *Intent) { in.Method = "PATCH" },
		"route":  func(in *Intent) { in.Route = "/refunds" },
		"body":   func(in *Intent) { in.Body = []byte("tea, two") },
		"ID":     func(in *Intent) { in.ID = "2" },
		// The same bytes one after the other, cut elsewhere.
		"cut 1": func(in *Intent) { in.Scope, in.Method = "shopP", "OST" },
		"cut 2": func(in *Intent) { in.Route, in.Body = "/orderst", []byte("ea") },
		"cut 3": func(in *Intent) { in.Body, in.ID = nil, "tea1" },
		"cut 4": func(in *Intent) { in.Scope, in.Method = "", "shopPOST" },
	} {
		in := base
		change(&in)
		distinct(name, secret, in)
	}
	distinct("secret", []byte("0123456789abcdeg"), base)
}

// I-6: never from content alone.
func TestDeriveNeedsAnIDAndASecret(t *testing.T) {
	if key, err := Derive(secret, Intent{Scope: "shop", Method: "POST", Route: "/orders", Body: []byte("tea")}); err == nil || !strings.Contains(err.Error(), "may both be meant") {
		t.Errorf("Derive(no ID) = %q, %v, want why there must be one", key, err)
	}
	for _, short := range [][]byte{nil, secret[:15]} {
		if key, err := Derive(short, Intent{ID: "1"}); err == nil || !strings.Contains(err.Error(), "give at least 16") || key != "" {
			t.Errorf("Derive(secret of %d bytes) = %q, %v, want an error", len(short), key, err)
		}
	}
}

// I-6: the key of an intent must not change from one release to the next, or a
// retry after an upgrade does the work again. The encoding is spelled out.
func TestDeriveIsHMACOfLengthPrefixedFields(t *testing.T) {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte("\x00\x00\x00\x00\x00\x00\x00\x06intent" +
		"\x00\x00\x00\x00\x00\x00\x00\x04shop" +
		"\x00\x00\x00\x00\x00\x00\x00\x04POST" +
		"\x00\x00\x00\x00\x00\x00\x00\x07/orders" +
		"\x00\x00\x00\x00\x00\x00\x00\x03tea" +
		"\x00\x00\x00\x00\x00\x00\x00\x011"))
	want := hex.EncodeToString(h.Sum(nil)[:16])
	got := strings.ReplaceAll(derive(t, secret, Intent{"shop", "POST", "/orders", []byte("tea"), "1"}), "-", "")
	for _, i := range []int{12, 16} { // version and variant
		want = want[:i] + "_" + want[i+1:]
		got = got[:i] + "_" + got[i+1:]
	}
	if got != want {
		t.Errorf("Derive = %s, want %s", got, want)
	}
}

// I-8
func TestChildTellsNothingOfItsParent(t *testing.T) {
	parent := "8e03978e-40d5-43e8-bc93-6894a57f9324"
	charge := Child(parent, "charge")
	switch {
	case !isUUID(charge, "8"):
		t.Errorf("Child = %q, want a UUID of version 8", charge)
	case charge != Child(parent, "charge"):
		t.Error("Child is not the same for one parent and call site")
	case charge == Child(parent, "mail"), charge == Child(parent+"0", "charge"):
		t.Error("Child is the same for two call sites or parents")
	}
	if got := Child("", "charge"); got != "" {
		t.Errorf(`Child("", "charge") = %q, want "": all requests without a key would share it`, got)
	}
}
