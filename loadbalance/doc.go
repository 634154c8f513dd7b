// Package loadbalance picks, for each attempt of a call, the endpoint it goes
// to.
//
//	policy := backstay.New(
//		retry.New(retry.Config{}),
//		loadbalance.New(loadbalance.RoundRobin(), "10.0.0.1:80", "10.0.0.2:80"),
//	)
//
// A balancer stands under retry, so that an attempt that follows a failure goes
// to an endpoint that the call has not tried yet, and goes at once: it is the
// endpoint that failed which needs a pause. It stands above breakers and
// timeouts of single endpoints.
//
// The pick is the Endpoint of the backstay.Call. Package httpcall connects to
// it with the URL left as it is; a function of your own reads it in
// backstay.Op.Do.
package loadbalance
