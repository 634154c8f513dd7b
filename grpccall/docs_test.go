package grpccall_test

import (
	"os"
	"strings"
	"testing"
)

// The first code in the package's documentation is that of an example, which
// compiles and runs.
func TestDocumentationIsCopiedFromAnExample(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(string(doc), "\n//\t")
	code, _, _ = strings.Cut(code, "\n//\n")
	code = "\t" + strings.ReplaceAll(code, "\n//\t", "\n\t") + "\n"
	if !strings.Contains(string(example), code) {
		t.Errorf("doc.go begins with the code\n%s\nwhich is not in example_test.go", code)
	}
}
