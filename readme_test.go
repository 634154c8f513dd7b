package backstay_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Code that is not compiled drifts, so what the README shows is a part of an
// example that is tested.
func TestReadmeShowsCodeOfExamples(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(readme), -1)
	if len(blocks) == 0 {
		t.Fatal("README.md shows no Go code, want some")
	}
	var examples strings.Builder
	err = filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && (strings.HasSuffix(path, "example_test.go") || strings.HasPrefix(path, "examples"+string(filepath.Separator))) && strings.HasSuffix(path, ".go") {
			code, err := os.ReadFile(path)
			examples.WriteString(withoutIndent(string(code)))
			return err
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blocks {
		if !strings.Contains(examples.String(), withoutIndent(b[1])) {
			t.Errorf("no example has this code of README.md:\n\n%s", b[1])
		}
	}
}

// withoutIndent returns the code without the white space that begins its lines.
func withoutIndent(code string) string {
	lines := strings.Split(code, "\n")
	for i, l := range lines {
		lines[i] = strings.TrimSpace(l)
	}
	return strings.Join(lines, "\n")
}
