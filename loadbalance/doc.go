// Package loadbalance picks, for each attempt of a call, the endpoint it goes
// to.
//
//	policy := backstay.New(
//		retry.New(retry.Config{}),
//		loadbalance.New(loadbalance.PeakEWMA(), "10.0.0.1:80", "10.0.0.2:80"),
//	)
//
// A balancer stands under retry, so that an attempt that follows a failure goes
// to an endpoint that the call has not tried yet, and goes at once: it is the
// endpoint that failed which needs a pause. It stands above breakers and
// timeouts of single endpoints, and passes over endpoints whose breaker is open.
//
// The pick is the Endpoint of the backstay.Call. Package httpcall connects to
// it with the URL left as it is; a function of your own reads it in
// backstay.Op.Do. Whoever cannot stand around an attempt, such as the picker of
// a gRPC channel, picks at a [Balancer.Desk].
//
// # Which strategy
//
// [PeakEWMA], unless there is a reason for another: it goes around whatever is
// slow or fails, and knows it sooner than timeouts tell. Where what an endpoint
// has in memory matters more than its load, [Hash] with a Bound. Where there is
// data that only some endpoints have, [Partitions] or [PrimaryReplica].
// docs/loadbalancing.md compares them all, with the numbers of a simulation.
//
// # Endpoints
//
// They are given to [New], or found while the program runs: by [DNS], [SRV], a
// [File] or a function that [Balancer.Follow] asks again and again, or by
// whatever calls [Balancer.Update]. What is known of an endpoint belongs to its
// address and stays when others come and go. [Balancer.Nodes] shows it.
//
// # Health
//
// An endpoint that fails five times in a row, or far more often than the others,
// is ejected: left alone for some seconds, then tried with a single call. When
// it has recovered, and when it is new, it begins slowly. With less than half of
// the endpoints left, all are used again, for so many do not fail on their own.
// [HealthConfig] has the limits, and [Balancer.Monitor] checks endpoints that have no
// calls.
//
// Health is what one client has seen: nothing is shared between processes.
package loadbalance
