package sim

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// A Plot is a chart of what several strategies do, as SVG.
type Plot struct {
	Title  string
	Series []string    // what has a colour, six at most
	Values [][]float64 // of each series

	// Ticks are marked at the upright axis, which goes from the first to the
	// last.
	Ticks []float64
	Unit  string // is put after the ticks
	Log   bool   // the axis is logarithmic
}

// colours can be told apart by the colour-blind: Okabe and Ito, "Color Universal
// Design" (2008).
var colours = []string{"#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00"}

// The canvas, and the part of it that the axes enclose.
const (
	width, height            = 960, 330
	left, right, top, bottom = 56, 940, 64, 290
)

// Bars returns the chart with a group of bars for each value of a series, and
// the value above each bar.
func (p Plot) Bars(groups ...string) string {
	c := p.frame()
	step := float64(right-left) / float64(len(groups))
	bar := step * 0.86 / float64(len(p.Series))
	for g, name := range groups {
		x := left + step*float64(g) + step*0.07
		c.text(left+step*(float64(g)+0.5), bottom+18, "middle", name)
		for s, values := range p.Values {
			y := p.y(values[g])
			c.add(`<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`, x+bar*float64(s), y, bar-1, bottom-y, colours[s])
			c.add(`<text x="%.1f" y="%.1f" text-anchor="middle" font-size="8">%s</text>`, x+bar*(float64(s)+0.5), y-2, digits(values[g]))
		}
	}
	return c.end()
}

// Lines returns the chart with a line for each series, whose values are a step
// of the horizontal axis apart. marks are named points of that axis.
func (p Plot) Lines(axis string, every int, marks map[int]string) string {
	c := p.frame()
	last := len(p.Values[0]) - 1
	x := func(i int) float64 { return left + float64(right-left)*float64(i)/float64(last) }
	for i := 0; i <= last; i += every {
		c.text(x(i), bottom+18, "middle", fmt.Sprint(i))
	}
	c.text((left+right)/2, bottom+34, "middle", axis)
	for i := range last + 1 {
		if name, ok := marks[i]; ok {
			c.add(`<path d="M%.1f %d V%d" stroke="#888" stroke-dasharray="4 3"/>`, x(i), top, bottom)
			c.text(x(i)+4, top+10, "start", name)
		}
	}
	for s, values := range p.Values {
		var points []string
		for i, v := range values {
			points = append(points, fmt.Sprintf("%.1f,%.1f", x(i), p.y(v)))
		}
		c.add(`<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`, strings.Join(points, " "), colours[s])
	}
	return c.end()
}

// y returns where a value is. What does not fit is at the edge.
func (p Plot) y(v float64) float64 {
	low, high := p.Ticks[0], p.Ticks[len(p.Ticks)-1]
	v = min(max(v, low), high)
	if p.Log {
		v, low, high = math.Log(v), math.Log(low), math.Log(high)
	}
	return bottom - (bottom-top)*(v-low)/(high-low)
}

// frame returns a canvas with the title, the legend and the upright axis.
func (p Plot) frame() *canvas {
	c := new(canvas)
	c.add(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`, width, height)
	c.add(`<rect width="%d" height="%d" fill="#fff"/>`, width, height)
	c.add(`<text x="%d" y="22" font-size="15" font-weight="bold">%s</text>`, left, html.EscapeString(p.Title))
	at := left
	for i, name := range p.Series {
		c.add(`<rect x="%d" y="36" width="12" height="12" fill="%s"/>`, at, colours[i])
		c.text(float64(at+17), 46, "start", name)
		at += 40 + 7*len(name)
	}
	for _, t := range p.Ticks {
		c.add(`<path d="M%d %.1f H%d" stroke="#ddd"/>`, left, p.y(t), right)
		c.text(left-6, p.y(t)+4, "end", fmt.Sprintf("%g%s", t, p.Unit))
	}
	return c
}

// digits writes a number with two or three digits.
func digits(v float64) string {
	switch {
	case v >= 10:
		return fmt.Sprintf("%.0f", v)
	case v >= 2:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// A canvas is an SVG that is being written.
type canvas struct{ strings.Builder }

func (c *canvas) add(format string, args ...any) { fmt.Fprintf(c, format+"\n", args...) }

func (c *canvas) text(x, y float64, anchor, s string) {
	c.add(`<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>`, x, y, anchor, html.EscapeString(s))
}

func (c *canvas) end() string {
	c.add(`</svg>`)
	return c.String()
}
