package backstay_test

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "have TestSemantics write the tests that it finds into docs/semantics.md")

const semanticsPage = "docs/semantics.md"

// TestSemantics keeps docs/semantics.md in step with the tests: each rule on
// the page is proven by the tests that name it, and these are the ones listed.
func TestSemantics(t *testing.T) {
	lines := readPage(t)
	found := findProofs(t)
	var unproven []string
	promised, areas := map[string]bool{}, map[byte]bool{}
	for i, line := range lines {
		r, ok := parseRule(line)
		if !ok {
			continue
		}
		if promised[r.number] {
			t.Errorf("%s is on the page twice, want once", r.number)
		}
		promised[r.number], areas[r.number[0]] = true, true
		if r.promise == "" {
			t.Errorf("%s promises nothing, want a sentence", r.number)
		}
		proofs := "`" + strings.Join(found.tests[r.number], "`, `") + "`"
		switch {
		case len(found.tests[r.number]) == 0:
			unproven = append(unproven, r.number)
			proofs = ""
		case proofs != r.proofs && !*update:
			t.Errorf("%s is proven by %s, want %s: run go test -run TestSemantics . -update", r.number, r.proofs, proofs)
		}
		r.proofs = proofs
		lines[i] = r.String()
	}
	if len(unproven) > 0 {
		t.Errorf("no test names %s, want one for each", strings.Join(unproven, ", "))
	}
	for number, where := range found.named {
		if areas[number[0]] && !promised[number] {
			t.Errorf("%s names %s, which is not on the page", where, number)
		}
	}
	if *update {
		if err := os.WriteFile(semanticsPage, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func readPage(t *testing.T) []string {
	t.Helper()
	page, err := os.ReadFile(semanticsPage)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(page), "\n")
}

// A rule is a line of the page's tables.
type rule struct{ number, promise, proofs string }

var ruleNumber = regexp.MustCompile(`\b[A-Z]-[0-9]+\b`)

func parseRule(line string) (rule, bool) {
	cells := strings.Split(strings.Trim(line, "|"), "|")
	if len(cells) != 3 || !strings.HasPrefix(line, "|") {
		return rule{}, false
	}
	r := rule{strings.TrimSpace(cells[0]), strings.TrimSpace(cells[1]), strings.TrimSpace(cells[2])}
	return r, ruleNumber.FindString(r.number) == r.number
}

func (r rule) String() string {
	return strings.TrimSpace("| "+r.number+" | "+r.promise+" | "+r.proofs) + " |"
}

// proofs tell what the tests say about rules.
type proofs struct {
	tests map[string][]string // by rule: the tests whose comment or body names it, sorted
	named map[string]string   // by rule: a file that names it, for those with a typing error
}

// findProofs reads the tests of this repository, those in other modules too.
func findProofs(t *testing.T) proofs {
	t.Helper()
	found := proofs{map[string][]string{}, map[string]string{}}
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || len(d.Name()) > 1 && d.Name()[0] == '.'):
			return filepath.SkipDir
		case strings.HasSuffix(name, "_test.go"):
			return found.add(filepath.ToSlash(name))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tests := range found.tests {
		slices.Sort(tests)
	}
	return found
}

func (p *proofs) add(name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	for _, number := range ruleNumber.FindAllString(string(text), -1) {
		p.named[number] = name
	}
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, text, parser.ParseComments)
	if err != nil {
		return err
	}
	pkg := path.Dir(name)
	if pkg == "." {
		pkg = "backstay"
	}
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Recv != nil || !runs(f.Name.Name) {
			continue
		}
		from := f.Pos()
		if f.Doc != nil {
			from = f.Doc.Pos()
		}
		own := string(text[files.Position(from).Offset:files.Position(f.End()).Offset])
		numbers := ruleNumber.FindAllString(own, -1)
		slices.Sort(numbers)
		for _, number := range slices.Compact(numbers) {
			p.tests[number] = append(p.tests[number], pkg+"."+f.Name.Name)
		}
	}
	return nil
}

// runs reports whether go test runs the function of that name.
func runs(name string) bool {
	return name != "TestMain" && (strings.HasPrefix(name, "Test") || strings.HasPrefix(name, "Fuzz") || strings.HasPrefix(name, "Example"))
}
