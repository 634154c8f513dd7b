package backstay

// A doneList holds the OnDone functions of a call: three in place, which is what
// most stacks need, and more on the heap.
type doneList struct {
	first [3]func(error)
	more  []func(error)
	n     int
}

func (d *doneList) add(f func(error)) {
	if d.n < len(d.first) {
		d.first[d.n] = f
	} else {
		d.more = append(d.more, f)
	}
	d.n++
}

func (d *doneList) at(i int) func(error) {
	if i < len(d.first) {
		return d.first[i]
	}
	return d.more[i-len(d.first)]
}

// take moves the functions of from to the end of d.
func (d *doneList) take(from *doneList) {
	if from.n == 0 {
		return
	}
	for i := range from.n {
		d.add(from.at(i))
	}
	*from = doneList{}
}

// truncate forgets all but the first n functions.
func (d *doneList) truncate(n int) {
	for d.n > n {
		d.pop()
	}
}

// pop removes the last function.
func (d *doneList) pop() func(error) {
	d.n--
	f := d.at(d.n)
	if i := d.n - len(d.first); i >= 0 {
		d.more[i] = nil
		d.more = d.more[:i]
	} else {
		d.first[d.n] = nil
	}
	return f
}

// run calls the functions, the last first, and forgets them. One that panics
// does not keep the others from running.
func (d *doneList) run(err error) {
	if d.n == 0 {
		return
	}
	defer d.run(err) // what a panic has left over
	for d.n > 0 {
		d.pop()(err)
	}
}
