package loadbalance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// File finds the endpoints in a file, one in each line: the address, then what
// else there is to say.
//
//	# orders, written by deploy
//	10.0.0.1:80 weight=3 locality=europe-west1/b
//	10.0.0.2:80 role=primary version=1.4
//
// weight, locality and role are those of Endpoint; any other key is an
// attribute. What follows a # at the beginning of a word is a comment.
//
// Whoever changes the file should write another and rename it to Path, or move
// a symbolic link, as Kubernetes does. A file with a line that cannot be read
// changes nothing, and neither does one without a newline at its end, for it is
// probably still being written.
type File struct {
	Path string

	// Interval is the time from one look at the file to the next. 0 means 1
	// second.
	Interval time.Duration
}

// Validate reports what is wrong with the resolver. It does not look at the
// file.
func (f File) Validate() error {
	switch {
	case f.Path == "":
		return errors.New("loadbalance: File needs a Path")
	case f.Interval < 0:
		return fmt.Errorf("loadbalance: the Interval of %s is %v; give a positive duration, or 0 for 1s", f.Path, f.Interval)
	}
	return nil
}

// Every returns the Interval.
func (f File) Every() time.Duration { return cmp.Or(f.Interval, time.Second) }

// maxFile bounds what is read, if Path turns out to be something else.
const maxFile = 16 << 20

// Resolve reads the file.
func (f File) Resolve(context.Context) ([]Endpoint, error) {
	file, err := os.Open(f.Path)
	if err != nil {
		return nil, fmt.Errorf("loadbalance: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("loadbalance: %w", err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("loadbalance: %s has more than %d bytes; is it a list of endpoints?", f.Path, maxFile)
	}
	return parseFile(f.Path, string(text))
}

// parseFile returns the endpoints in a text. Errors begin with its name and the
// line.
func parseFile(name, text string) ([]Endpoint, error) {
	var endpoints []Endpoint
	lines := map[string]int{} // by address
	for number := 1; text != ""; number++ {
		fault := func(err error) error { return fmt.Errorf("loadbalance: %s:%d: %w", name, number, err) }
		line, rest, whole := strings.Cut(text, "\n")
		text = rest
		if !whole {
			return nil, fault(errors.New("the line does not end; end the file with a newline"))
		}
		e, err := parseLine(line)
		switch {
		case err != nil:
			return nil, fault(err)
		case e.Address == "":
			continue
		case lines[e.Address] > 0:
			return nil, fault(fmt.Errorf("%s is in line %d too; leave one out", e.Address, lines[e.Address]))
		}
		lines[e.Address] = number
		endpoints = append(endpoints, e)
	}
	return endpoints, nil
}

// parseLine returns the endpoint in a line, without an address if there is none.
func parseLine(line string) (e Endpoint, err error) {
	if i := strings.IndexFunc(line, strange); i >= 0 {
		return e, fmt.Errorf("byte %d is not text; write UTF-8 without a byte order mark", i+1)
	}
	seen := map[string]bool{}
	for i, word := range strings.Fields(line) {
		key, value, pair := strings.Cut(word, "=")
		switch {
		case word[0] == '#':
			return e, nil
		case i == 0 && pair:
			return e, fmt.Errorf("%s is in the place of the address; begin the line with the address", word)
		case i == 0 && strings.Contains(word, "://"):
			return e, fmt.Errorf("%s is a URL; give its address, such as 10.0.0.1:80", word)
		case i == 0:
			e.Address = word
			continue
		case !pair || key == "" || value == "":
			return e, fmt.Errorf("%s is not understood; write key=value after the address, and each endpoint in a line of its own", word)
		case seen[key]:
			return e, fmt.Errorf("%s is there twice; leave one out", key)
		}
		seen[key] = true
		if err := e.set(key, value); err != nil {
			return e, err
		}
	}
	return e, nil
}

// strange reports whether r should not be in a line. Bytes that are no UTF-8
// come as the replacement character.
func strange(r rune) bool {
	return !unicode.IsPrint(r) && r != '\t' && r != '\r' || r == unicode.ReplacementChar
}

// set sets what a key of a line stands for.
func (e *Endpoint) set(key, value string) (err error) {
	switch key {
	case "weight":
		e.Weight, err = strconv.Atoi(value)
		if err != nil || e.Weight < 1 || e.Weight > maxWeight || value[0] == '+' {
			return fmt.Errorf("weight=%s; give 1 to %d, or leave the line out to have no calls there", value, maxWeight)
		}
	case "locality":
		e.Locality = value
	case "role":
		switch value {
		case "primary":
			e.Role = Primary
		case "replica":
			e.Role = Replica
		default:
			return fmt.Errorf("role=%s; give primary or replica", value)
		}
	default:
		if e.Attributes == nil {
			e.Attributes = map[string]string{}
		}
		e.Attributes[key] = value
	}
	return nil
}
