package idempotency

import (
	"errors"
	"strings"
	"testing"
)

// I-1: RFC 9651, sections 3.3.3, 4.1.6 and 4.2.5.
func TestQuote(t *testing.T) {
	for _, c := range []struct{ key, want string }{
		{"8e03978e-40d5-43e8-bc93-6894a57f9324", `"8e03978e-40d5-43e8-bc93-6894a57f9324"`},
		{``, `""`},
		{` a b `, `" a b "`},
		{`say "hi"`, `"say \"hi\""`},
		{`C:\`, `"C:\\"`},
		{`\"`, `"\\\""`},
		{"~", `"~"`},
	} {
		got, err := Quote(c.key)
		if err != nil || got != c.want {
			t.Errorf("Quote(%q) = %q, %v, want %q", c.key, got, err, c.want)
		}
		if back, err := Unquote(c.want); err != nil || back != c.key {
			t.Errorf("Unquote(%q) = %q, %v, want %q", c.want, back, err, c.key)
		}
	}
	for _, key := range []string{"\x1f", "\x7f", "a\tb", "a\nb", "é", "\xff", "\x00"} {
		if got, err := Quote(key); !errors.Is(err, ErrBadKey) {
			t.Errorf("Quote(%q) = %q, %v, want ErrBadKey", key, got, err)
		}
	}
}

// I-1: RFC 9651, section 4.2.5.
func TestUnquoteRefusesWhatIsNotAString(t *testing.T) {
	for _, value := range []string{
		``, ` `, `"`, `abc`, `token`, `1`, `?1`, `:YWJj:`, `("a")`, `'a'`,
		`"a`, `a"`, `"a\"`, `"a\`, `"a\b"`, `"\u0041"`, `"a" "b"`, `"a", "b"`, `"a"b`,
		`"a";p=1`, `"a";p`, "\"a\tb\"", "\"\x1f\"", "\"\x7f\"", `"é"`, "\t\"a\"", "\"a\"\n",
	} {
		if got, err := Unquote(value); !errors.Is(err, ErrBadKey) {
			t.Errorf("Unquote(%q) = %q, %v, want ErrBadKey", value, got, err)
		}
	}
}

func TestUnquoteSkipsSpaceAround(t *testing.T) { // RFC 9651, section 4.2
	if got, err := Unquote(`  "a "  `); err != nil || got != "a " {
		t.Errorf("Unquote = %q, %v, want %q", got, err, "a ")
	}
}

func FuzzQuote(f *testing.F) {
	for _, key := range []string{"", "abc", `\"`, "\x7f", "é"} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		can := strings.IndexFunc(key, func(r rune) bool { return r < 0x20 || r > 0x7e }) < 0
		value, err := Quote(key)
		if (err == nil) != can {
			t.Fatalf("Quote(%q) = %v, want an error: %v", key, err, !can)
		}
		if err != nil {
			return
		}
		if got, err := Unquote(value); err != nil || got != key {
			t.Errorf("Unquote(Quote(%q)) = %q, %v, want the key", key, got, err)
		}
	})
}

func FuzzUnquote(f *testing.F) {
	for _, value := range []string{"", `"abc"`, `"a\"b\\"`, `"a\`, ` "a" `, `"a";p=1`, `"é"`} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		key, err := Unquote(value)
		if err != nil {
			return
		}
		// There is one way to write a String, so what was read is written alike.
		if got, err := Quote(key); err != nil || got != strings.Trim(value, " ") {
			t.Errorf("Quote(Unquote(%q)) = %q, %v, want the value", value, got, err)
		}
	})
}
