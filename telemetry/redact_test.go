package telemetry

import (
	"encoding/hex"
	"net/url"
	"strings"
	"testing"
)

// T-8
func TestURLsAreRedacted(t *testing.T) {
	for _, row := range []struct{ url, want string }{
		{"https://a.example/b?c=d", "https://a.example/b?c=d"},
		{"https://joe:secret@a.example/", "https://REDACTED:REDACTED@a.example/"},
		{"https://joe@a.example/", "https://REDACTED:REDACTED@a.example/"},
		{"https://a.example/?X-Amz-Signature=s", "https://a.example/?X-Amz-Signature=REDACTED"},
		{"https://a.example/?a=1&X-Amz-Credential=s&b=2", "https://a.example/?a=1&X-Amz-Credential=REDACTED&b=2"},
		{"https://a.example/?X-Amz-Security-Token=s", "https://a.example/?X-Amz-Security-Token=REDACTED"},
		{"https://a.example/?AWSAccessKeyId=s&Signature=s", "https://a.example/?AWSAccessKeyId=REDACTED&Signature=REDACTED"},
		{"https://a.example/?sig=s&sig=s", "https://a.example/?sig=REDACTED&sig=REDACTED"},
		{"https://a.example/?X-Goog-Signature=s#f", "https://a.example/?X-Goog-Signature=REDACTED#f"},
		{"https://a.example/?s%69g=s", "https://a.example/?s%69g=REDACTED"},
		{"https://a.example/?sig=s=s", "https://a.example/?sig=REDACTED"},
		{"https://a.example/?a=1;sig=s;b=2&c=3", "https://a.example/?a=1;sig=REDACTED&c=3"},
		{"https://a.example/?a;sig=s", "https://a.example/?a;sig=REDACTED"},
		{"https://a.example/?design=1&sig", "https://a.example/?design=1&sig"},
		{"https:joe:secret@a.example/b?sig=s", "https:REDACTED:REDACTED@a.example/b?sig=REDACTED"},
		{"https://a.example/?%zz=1&a=%zz", "https://a.example/?%zz=1&a=%zz"},
	} {
		u, err := url.Parse(row.url)
		if err != nil {
			t.Fatal(err)
		}
		if got := redact(u); got != row.want {
			t.Errorf("redact(%s) = %s, want %s", row.url, got, row.want)
		}
		if u.String() != row.url {
			t.Errorf("redact(%s) changed its argument to %s", row.url, u)
		}
	}
	u := &url.URL{Scheme: "https", Opaque: "//joe:secret@a.example/b?sig=s"}
	if got, want := redact(u), "https://REDACTED:REDACTED@a.example/b?sig=REDACTED"; got != want {
		t.Errorf("redact(%v) = %s, want %s", u, got, want)
	}
}

// T-8
func FuzzRedact(f *testing.F) {
	f.Add("https://a.example/b?c=d#e", "secret", uint8(0))
	f.Add("https:a@b/c?d;e=f", "a@b/c?d#e", uint8(3))
	f.Add("//[::1]:80?a=b;c", "%", uint8(6))
	f.Add("*?&&;;==", "", uint8(255))
	names := []string{"X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token", "AWSAccessKeyId", "Signature", "sig", "X-Goog-Signature"}
	f.Fuzz(func(t *testing.T, raw, secret string, pick uint8) {
		u, err := url.Parse(raw)
		if err != nil {
			t.Skip()
		}
		// Unlike anything that raw can have by chance, whatever the escapes.
		secret = "hunter2" + hex.EncodeToString([]byte(secret))
		if strings.Contains(raw, "hunter2") {
			t.Skip()
		}
		name := names[int(pick)%len(names)]
		separator := []string{"&", ";"}[int(pick)%2]
		if u.RawQuery != "" {
			u.RawQuery += separator
		}
		u.RawQuery += name + "=" + secret + separator + "z=1"
		if u.Opaque == "" && u.Host != "" {
			u.User = url.UserPassword("joe", secret)
		}
		_, err = url.Parse(u.String())
		got := redact(u)
		if strings.Contains(got, "hunter2") {
			t.Errorf("redact(%s) = %s, which has the secret", u, got)
		}
		if _, gotErr := url.Parse(got); err == nil && gotErr != nil {
			t.Errorf("redact(%s) = %s, which does not parse: %v", u, got, gotErr)
		}
	})
}
