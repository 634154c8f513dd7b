package grpccall

import "github.com/backstay-go/backstay"

// connected stands innermost and tells the balancer which endpoints to pass
// over.
type connected struct{ channel *channel }

func (c connected) String() string                        { return "connected" }
func (c connected) Traits() backstay.Traits               { return backstay.Traits{NeedsEndpoint: true} }
func (c connected) Wrap(next backstay.Func) backstay.Func { return next }

// Blocks reports whether the endpoint at address is not connected.
func (c connected) Blocks(address string) bool { return c.channel.blocks(address) }
