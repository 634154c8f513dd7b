package loadbalance

import (
	"context"
	"errors"
	"runtime"
	"sync"
)

// A Shard is a part of a request that spans partitions, and its answer.
type Shard[Req, Resp any] struct {
	Req  Req
	Resp Resp
	Err  error
}

// Scatter returns a function that splits a request, makes the calls for the
// parts at the same time, and merges their answers when all are there:
//
//	getMany := loadbalance.Scatter(get, splitByPartition, mergeAnswers)
//
// split returns the parts; Schema.Group helps it. An error of it is returned.
// merge is given the parts in the order of split, with those that failed: it
// decides whether what came is enough, and releases what it does not return. A
// request without parts is merged from none.
//
// Each part has a goroutine of its own, however many there are: split bounds
// them, or call does. A part that fails cancels no other, for merge may do
// without it.
//
// All calls have the ctx of the caller, and so one deadline. A panic in one of
// them goes on in the caller, once all have returned, as runtime.Goexit does.
// call must be safe for concurrent use.
//
// It panics if a function is missing.
func Scatter[Req, Resp any](call func(context.Context, Req) (Resp, error), split func(Req) ([]Req, error), merge func([]Shard[Req, Resp]) (Resp, error)) func(context.Context, Req) (Resp, error) {
	if call == nil || split == nil || merge == nil {
		panic("loadbalance: Scatter needs a function that makes a call, one that splits a request and one that merges the answers")
	}
	return func(ctx context.Context, req Req) (none Resp, err error) {
		reqs, err := split(req)
		if err != nil {
			return none, err
		}
		parts := make([]Shard[Req, Resp], len(reqs))
		crashes := make(chan any, len(reqs))
		var all sync.WaitGroup
		for i, r := range reqs {
			all.Go(func() {
				over := false
				defer func() {
					if !over {
						crashes <- recover()
					}
				}()
				parts[i].Req = r
				parts[i].Resp, parts[i].Err = call(ctx, r)
				over = true
			})
		}
		all.Wait()
		if close(crashes); len(crashes) > 0 {
			crash(crashes)
		}
		return merge(parts)
	}
}

// crash goes on with the first panic, or else with runtime.Goexit, which
// recovers as nil.
func crash(recovered <-chan any) {
	for p := range recovered {
		if p != nil {
			panic(p)
		}
	}
	runtime.Goexit()
}

// JoinErrors returns the errors of the parts that failed, joined, or nil: what a
// merge returns that needs all of them.
func JoinErrors[Req, Resp any](parts []Shard[Req, Resp]) error {
	var errs []error
	for _, p := range parts {
		if p.Err != nil {
			errs = append(errs, p.Err)
		}
	}
	return errors.Join(errs...)
}
