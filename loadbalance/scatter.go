package loadbalance

import (
	"context"
	"errors"
	"sync"
)

// A Part is a share of a request that spans partitions, and its answer.
type Part[Req, Resp any] struct {
	Req  Req
	Resp Resp
	Err  error
}

// Scatter returns a function that splits a request, makes the calls for the
// parts at the same time, and merges their answers when all are there:
//
//	getMany := loadbalance.Scatter(get, splitByPartition, mergeAnswers)
//
// split returns the parts; Schema.Group helps it. merge is given them in that
// order, with those that failed: it decides whether what came is enough. All
// parts have the deadline of ctx. call must be safe for concurrent use.
//
// It panics if a function is missing.
func Scatter[Req, Resp any](call func(context.Context, Req) (Resp, error), split func(Req) ([]Req, error), merge func([]Part[Req, Resp]) (Resp, error)) func(context.Context, Req) (Resp, error) {
	if call == nil || split == nil || merge == nil {
		panic("loadbalance: Scatter needs a function that makes a call, one that splits a request and one that merges the answers")
	}
	return func(ctx context.Context, req Req) (Resp, error) {
		reqs, err := split(req)
		if err != nil {
			var none Resp
			return none, err
		}
		parts := make([]Part[Req, Resp], len(reqs))
		var all sync.WaitGroup
		panics := make(chan any, len(reqs))
		for i, r := range reqs {
			all.Go(func() {
				over := false
				defer func() {
					if !over {
						panics <- recover()
					}
				}()
				parts[i].Req = r
				parts[i].Resp, parts[i].Err = call(ctx, r)
				over = true
			})
		}
		all.Wait()
		select {
		case p := <-panics:
			panic(p)
		default:
		}
		return merge(parts)
	}
}

// Errors returns the errors of the parts that failed, joined, or nil: what a
// merge returns that needs all of them.
func Errors[Req, Resp any](parts []Part[Req, Resp]) error {
	var errs []error
	for _, p := range parts {
		if p.Err != nil {
			errs = append(errs, p.Err)
		}
	}
	return errors.Join(errs...)
}
