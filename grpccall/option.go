package grpccall

import "google.golang.org/grpc"

// Idempotent returns a call option that says that doing the call twice does its
// work once, so that it is tried again though it may have arrived. On a channel
// without a policy it does nothing.
func Idempotent() grpc.CallOption { return idempotent{} }

type idempotent struct{ grpc.EmptyCallOption }
