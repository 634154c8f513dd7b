package backstay_test

import (
	"go/build"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/backstay-go/backstay"

// A ban keeps packages from importing others, and says why.
type ban struct {
	in     func(pkg string) bool // "" is the core
	tests  bool                  // holds in tests too
	what   func(imported string) bool
	reason string
}

func one(of ...string) func(string) bool {
	return func(pkg string) bool { return slices.Contains(of, pkg) }
}

func under(prefixes ...string) func(string) bool {
	return func(pkg string) bool {
		return slices.ContainsFunc(prefixes, func(p string) bool { return pkg == p || strings.HasPrefix(pkg, p+"/") })
	}
}

func not(f func(string) bool) func(string) bool { return func(pkg string) bool { return !f(pkg) } }

func and(f, g func(string) bool) func(string) bool {
	return func(pkg string) bool { return f(pkg) && g(pkg) }
}

// foreign reports whether an import is neither of the standard library nor of
// this module.
func foreign(imported string) bool {
	host, _, _ := strings.Cut(imported, "/")
	return strings.Contains(host, ".") && !under(module)(imported)
}

// public is the packages that users import.
var public = not(under("examples", "bench", "internal"))

// adapters know a protocol, and of the middleware what is named: a channel of
// gRPC has its balancer within, and a server its own interceptor for keys.
var adapters = map[string][]string{"httpcall": nil, "grpccall": {"idempotency", "loadbalance"}}

// bank tests clients and servers together, so it imports them.
const bank = "internal/transfers"

var bans = []ban{
	{in: one(""), what: foreign, reason: "the core imports the standard library only: whoever writes a middleware depends on nothing else"},
	{in: one(""), what: and(under(module), not(under(module+"/internal/clock", module+"/internal/body", module+"/internal/httpreq"))), reason: "the core knows no middleware, so that every middleware can be replaced"},
	{in: and(under("internal"), not(one(bank))), what: and(under(module), and(not(one(module)), not(under(module+"/internal")))), reason: "what is internal is beneath the packages that users import"},
	{in: not(under("grpccall", "examples", "bench")), tests: true, what: under("google.golang.org/grpc"), reason: "who does not use gRPC does not compile it"},
	{in: public, what: under("go.opentelemetry.io/otel/sdk", "go.opentelemetry.io/otel/exporters"), reason: "the program chooses the SDK; a library uses the API"},
	{in: not(under("telemetry", "examples", "bench", "standard")), what: under("go.opentelemetry.io"), reason: "only telemetry makes spans, so that it can be left out"},
	{in: and(public, not(one("idempotency/storetest"))), what: under("testing"), reason: "a flag of package testing would appear in the user's program; storetest is for their tests"},
	{in: public, what: one(module+"/idempotency/storetest", module+"/"+bank), reason: "it imports testing"},
}

func init() {
	for a, needed := range adapters {
		others := func(imported string) bool {
			of, ours := strings.CutPrefix(imported, module+"/")
			return ours && !under("internal", a)(of) && !slices.Contains(needed, of)
		}
		bans = append(bans, ban{in: under(a), what: others, reason: "an adapter knows the core and not the middleware or another adapter: any policy works with any protocol"})
	}
}

func TestImports(t *testing.T) {
	packages := 0
	err := filepath.WalkDir(".", func(dir string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if name := d.Name(); name == "testdata" || len(name) > 1 && name[0] == '.' {
			return filepath.SkipDir
		}
		p, err := build.ImportDir(dir, 0)
		if _, none := err.(*build.NoGoError); none {
			return nil
		} else if err != nil {
			return err
		}
		packages++
		pkg := strings.TrimPrefix(path.Clean(filepath.ToSlash(dir)), ".")
		checkImports(t, pkg, p.Imports, false)
		checkImports(t, pkg, slices.Concat(p.TestImports, p.XTestImports), true)
		return nil
	})
	if err != nil || packages < 5 {
		t.Errorf("read %d packages (%v), want all of this module", packages, err)
	}
}

func checkImports(t *testing.T, pkg string, imports []string, tests bool) {
	for _, imported := range imports {
		if reason := banned(pkg, imported, tests); reason != "" {
			t.Errorf("%s imports %s, which it must not: %s", path.Join(module, pkg), imported, reason)
		}
	}
}

// banned returns why pkg must not import a package, or "".
func banned(pkg, imported string, tests bool) string {
	for _, b := range bans {
		if b.in(pkg) && b.what(imported) && (b.tests || !tests) {
			return b.reason
		}
	}
	return ""
}

func TestBansCatchWhatTheyAreFor(t *testing.T) {
	rows := []struct {
		pkg, imported string
		tests, banned bool
	}{
		{"", "github.com/cenkalti/backoff/v4", false, true},
		{"", "github.com/cenkalti/backoff/v4", true, false},
		{"", module + "/retry", false, true},
		{"", module + "/internal/deadline", false, true},
		{"", module + "/internal/clock", false, false},
		{"", "net/http", false, false},
		{"internal/body", module + "/retry", false, true},
		{"retry", "google.golang.org/grpc", true, true},
		{"retry", "google.golang.org/grpc/codes", false, true},
		{"grpccall", "google.golang.org/grpc/codes", false, false},
		{"grpccall", module + "/httpcall", false, true},
		{"grpccall", module + "/retry", false, true},
		{"grpccall", module + "/idempotency", false, false},
		{"httpcall", module + "/idempotency", false, true},
		{"httpcall", module + "/retry", false, true},
		{"httpcall", module + "/telemetry", true, false},
		{"httpcall", module, false, false},
		{"httpcall", module + "/internal/body", false, false},
		{"telemetry", "go.opentelemetry.io/otel/sdk/trace", false, true},
		{"telemetry", "go.opentelemetry.io/otel/sdk/trace", true, false},
		{"telemetry", "go.opentelemetry.io/otel/trace", false, false},
		{"retry", "go.opentelemetry.io/otel/trace", false, true},
		{"retry", "testing", false, true},
		{"idempotency", "testing", false, true},
		{"idempotency", module + "/idempotency/storetest", false, true},
		{"idempotency", module + "/idempotency/storetest", true, false},
		{"idempotency/storetest", "testing", false, false},
		{"idempotency", module + "/" + bank, false, true},
		{"idempotency", module + "/" + bank, true, false},
		{bank, module + "/retry", false, false},
	}
	for _, r := range rows {
		if got := banned(r.pkg, r.imported, r.tests); (got != "") != r.banned {
			t.Errorf("banned(%q, %q, tests %v) = %q, want banned %v", r.pkg, r.imported, r.tests, got, r.banned)
		}
	}
}
