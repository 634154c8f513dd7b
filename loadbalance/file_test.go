package loadbalance

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestFileSaysWhatThereIsToSayOfAnEndpoint(t *testing.T) {
	const text = `# orders

10.0.0.1:80 weight=3 locality=eu/1a # the big one
	[fd00::1]:80	role=primary version=1.4 tag=a=b
10.0.0.2:80 role=replica #
socket-7` + "\r\n"
	want := []Endpoint{
		{Address: "10.0.0.1:80", Weight: 3, Locality: "eu/1a"},
		{Address: "[fd00::1]:80", Role: Primary, Attributes: map[string]string{"version": "1.4", "tag": "a=b"}},
		{Address: "10.0.0.2:80"},
		{Address: "socket-7"},
	}
	got, err := parseFile("f", text)
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) || err != nil {
		t.Errorf("parseFile() = %+v, %v, want %+v", got, err, want)
	}
	for _, empty := range []string{"", "\n", "# nobody\n", " \t\r\n"} {
		if got, err := parseFile("f", empty); len(got) != 0 || err != nil {
			t.Errorf("parseFile(%q) = %+v, %v, want none", empty, got, err)
		}
	}
}

func TestFileErrorsNameTheLineAndTheMend(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"a:80\nb:8", "2: the line does not end; end the file with a newline"},
		{"a\nb\n\n a\n", "4: a is in line 1 too; leave one out"},
		{"weight=3 a\n", "1: weight=3 is in the place of the address; begin the line with the address"},
		{"http://a:80\n", "1: http://a:80 is a URL; give its address, such as 10.0.0.1:80"},
		{"a b\n", "1: b is not understood; write key=value after the address, and each endpoint in a line of its own"},
		{"a weight=\n", "1: weight= is not understood; write key=value after the address, and each endpoint in a line of its own"},
		{"a =3\n", "1: =3 is not understood; write key=value after the address, and each endpoint in a line of its own"},
		{"a weight=1 weight=2\n", "1: weight is there twice; leave one out"},
		{"a zone=1 zone=1\n", "1: zone is there twice; leave one out"},
		{"a weight=0\n", "1: weight=0; give 1 to 65535, or leave the line out to have no calls there"},
		{"a weight=65536\n", "1: weight=65536; give 1 to 65535, or leave the line out to have no calls there"},
		{"a weight=+1\n", "1: weight=+1; give 1 to 65535, or leave the line out to have no calls there"},
		{"a weight=1.5\n", "1: weight=1.5; give 1 to 65535, or leave the line out to have no calls there"},
		{"a role=leader\n", "1: role=leader; give primary or replica"},
		{"a\n\ufeffb\n", "2: byte 1 is not text; write UTF-8 without a byte order mark"},
		{"a\xff\n", "1: byte 2 is not text; write UTF-8 without a byte order mark"},
		{"a\x00\n", "1: byte 2 is not text; write UTF-8 without a byte order mark"},
	} {
		got, err := parseFile("/etc/orders", row.text)
		if want := "loadbalance: /etc/orders:" + row.want; err == nil || err.Error() != want || got != nil {
			t.Errorf("parseFile(%q) = %v, %v, want %s", row.text, got, err, want)
		}
	}
}

func FuzzFile(f *testing.F) {
	for _, seed := range []string{"a:80 weight=3 locality=eu/1a role=primary version=1\n# x\nb\n", "a\r\n\n", "a b=c=d #e\n", "a weight=65535\n\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		endpoints, err := parseFile("f", text)
		if err != nil {
			if len(endpoints) != 0 || !strings.HasPrefix(err.Error(), "loadbalance: f:") {
				t.Errorf("parseFile(%q) = %v, %v, want no endpoints and the file's name", text, endpoints, err)
			}
			return
		}
		if err := validate(endpoints); err != nil {
			t.Errorf("validate(parseFile(%q)) = %v, want nil", text, err)
		}
		written := write(endpoints)
		if again, err := parseFile("f", written); write(again) != written || err != nil {
			t.Errorf("parseFile(%q) = %+v, %v, want %+v", written, again, err, endpoints)
		}
	})
}

// write writes endpoints as File reads them.
func write(endpoints []Endpoint) string {
	var s strings.Builder
	for _, e := range endpoints {
		fmt.Fprintf(&s, "%s weight=%d role=%v", e.Address, e.weight(), e.Role)
		if e.Locality != "" {
			fmt.Fprintf(&s, " locality=%s", e.Locality)
		}
		for _, key := range slices.Sorted(maps.Keys(e.Attributes)) {
			fmt.Fprintf(&s, " %s=%s", key, e.Attributes[key])
		}
		s.WriteString("\n")
	}
	return s.String()
}

// L-24, L-25
func TestFileIsWatched(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "endpoints")
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		b := NewBalancer(Config{})
		go func() { _ = b.Follow(t.Context(), File{Path: path}) }()
		for _, step := range []struct {
			do   string
			f    func()
			want string
			err  string
		}{
			{"nothing there", func() {}, "[]", "no such file"},
			{"created", func() { put("endpoints", "a\n") }, "[a]", ""},
			{"written in place", func() { put("endpoints", "a\nb\n") }, "[a b]", ""},
			{"half a line written", func() { put("endpoints", "a\nc") }, "[a b]", ":2: the line does not end"},
			{"all of it written", func() { put("endpoints", "a\nc\n") }, "[a c]", ""},
			{"truncated", func() { put("endpoints", "") }, "[a c]", "found no endpoints"},
			{"replaced", func() { put("new", "d\n"); must(os.Rename(filepath.Join(dir, "new"), path)) }, "[d]", ""},
			{"replaced by nonsense", func() { put("new", "\x00\n"); must(os.Rename(filepath.Join(dir, "new"), path)) }, "[d]", ":1: byte 1 is not text"},
			{"removed", func() { must(os.Remove(path)) }, "[d]", "no such file"},
			{"linked", func() { put("v1", "e\n"); must(os.Symlink("v1", path)) }, "[e]", ""},
			{"linked anew", func() {
				put("v2", "f\n")
				must(os.Symlink("v2", filepath.Join(dir, "link")))
				must(os.Rename(filepath.Join(dir, "link"), path))
			}, "[f]", ""},
			{"a directory", func() { must(os.Remove(path)); must(os.Mkdir(path, 0o700)) }, "[f]", "is a directory"},
		} {
			step.f()
			<-time.After(1300 * time.Millisecond)
			if got := fmt.Sprint(b.Addresses()); got != step.want {
				t.Errorf("%s: Endpoints() = %s, want %s", step.do, got, step.want)
			}
			if err := b.LookupStatus().Err; (err == nil) != (step.err == "") || err != nil && !strings.Contains(err.Error(), step.err) {
				t.Errorf("%s: LookupStatus().Err = %v, want %q", step.do, err, step.err)
			}
		}
	})
}

func TestFileThatIsNoneIsNotReadWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, maxFile+1); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("loadbalance: %s has more than 16777216 bytes; is it a list of endpoints?", path)
	if _, err := (File{Path: path}).Resolve(t.Context()); err == nil || err.Error() != want {
		t.Errorf("Resolve(%s) = %v, want %s", path, err, want)
	}
}
