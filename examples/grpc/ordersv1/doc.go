// Package ordersv1 is the service of examples/grpc and of the tests of package
// grpccall: one method for each kind of call. All Go but this file is
// generated from orders.proto, by tools that `go generate` gets by itself.
package ordersv1

// The file is compiled from the folder above, so that its name among those that
// a program registers is ordersv1/orders.proto.
//go:generate go run github.com/bufbuild/buf/cmd/buf@v1.75.0 generate .. --output ..
