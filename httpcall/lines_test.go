package httpcall_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
)

// job returns the lines of the Example from the policy to the request.
func job(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, "example_test.go", text, 0)
	if err != nil {
		t.Fatal(err)
	}
	var from, to int
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Name.Name != "Example" {
			continue
		}
		for _, s := range f.Body.List {
			a, ok := s.(*ast.AssignStmt)
			if !ok {
				continue
			}
			switch a.Lhs[0].(*ast.Ident).Name {
			case "policy":
				from = files.Position(a.Pos()).Line
			case "resp":
				to = files.Position(a.End()).Line
			}
		}
	}
	if from == 0 || to == 0 {
		t.Fatal("the Example has no policy or no resp")
	}
	return strings.Split(string(text), "\n")[from-1 : to]
}

func TestJobTakesTwelveLines(t *testing.T) {
	if lines := job(t); len(lines) > 12 {
		t.Errorf("the Example takes %d lines, want at most 12:\n%s", len(lines), strings.Join(lines, "\n"))
	}
}

func TestDocShowsTheExample(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	lines := job(t)
	want := "//" + strings.Join(lines[:len(lines)-1], "\n//") + "\n"
	if !strings.Contains(string(doc), want) {
		t.Errorf("doc.go does not show the policy and client of the Example:\n%s", want)
	}
}
