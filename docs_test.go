package backstay_test

import (
	"os"
	"strings"
	"testing"
)

// The code in the package's documentation is that of the examples, which
// compile and run.
func TestDocumentationIsCopiedFromExamples(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	examples, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	compiled := map[string]bool{"order, err := getOrder(ctx, 42)": true} // with a context of the reader's
	for line := range strings.Lines(string(examples)) {
		compiled[strings.TrimSpace(line)] = true
	}
	for line := range strings.Lines(string(doc)) {
		code, ok := strings.CutPrefix(line, "//\t")
		if code = strings.TrimSpace(code); ok && !compiled[code] {
			t.Errorf("doc.go has %q, want only lines of example_test.go", code)
		}
	}
}
