package sim

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestPlotsAreWellFormed(t *testing.T) {
	p := Plot{
		Title:  "p99 < 2 & more",
		Series: []string{"a", "b"},
		Values: [][]float64{{1, 2.5, 1000}, {0, 10, 3}}, // within the axis, at its ends and beyond
		Ticks:  []float64{1, 10},
		Log:    true,
	}
	for name, svg := range map[string]string{
		"Bars":  p.Bars("x", "<y>", "z"),
		"Lines": p.Lines("seconds", 1, map[int]string{1: "healed"}),
	} {
		d := xml.NewDecoder(strings.NewReader(svg))
		for {
			_, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil || strings.Contains(svg, "Inf") || strings.Contains(svg, "NaN") {
				t.Fatalf("%s is not well-formed (%v):\n%s", name, err, svg)
			}
		}
	}
}

// At a logarithmic axis from 1 to 100, 10 is in the middle.
func TestPlotAxes(t *testing.T) {
	const middle = (top + bottom) / 2
	for _, row := range []struct {
		ticks []float64
		log   bool
		v     float64
		want  float64
	}{
		{[]float64{0, 4}, false, 2, middle},
		{[]float64{0, 4}, false, 9, top},
		{[]float64{0, 4}, false, -1, bottom},
		{[]float64{1, 100}, true, 10, middle},
		{[]float64{1, 100}, true, 0, bottom},
	} {
		if got := (Plot{Ticks: row.ticks, Log: row.log}).y(row.v); got != row.want {
			t.Errorf("y(%v) with ticks %v = %v, want %v", row.v, row.ticks, got, row.want)
		}
	}
}

func TestTable(t *testing.T) {
	got := Table([]string{"strategy", "p99"}, [][]string{{"random", "2.10"}})
	want := "| strategy | p99 |\n|---|---:|\n| random | 2.10 |\n"
	if got != want {
		t.Errorf("Table() = %q, want %q", got, want)
	}
}
