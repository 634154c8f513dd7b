// Package sim simulates clients that balance their calls over servers, in
// virtual time. It is for tests and for the command that prints their tables;
// nothing else imports it.
//
//	report := sim.Run(sim.Config{Seed: 1, Clients: 10}, sim.BlackHole, newClient)
//	oracle := sim.Run(sim.Config{Seed: 1}, sim.BlackHole, sim.Oracle)
//	fmt.Println(report.P99, oracle.P99)
//
// A run depends on its seed alone: two runs are identical to the byte. There is
// one thread of events in the order of their virtual times. A call is a
// coroutine, so the code under test may be any that calls send in the middle of
// it and reads its clock and its random numbers from Env.
//
// # The world
//
// Servers have a number of workers and a bounded queue in front of them, first
// in, first out; a full queue turns calls away. A call that its client has given
// up is worked on all the same, as the server does not know. What a call costs is
// drawn for each attempt of each call and not for each server, so that all
// strategies face the same arrivals and the same work; a server of double speed
// takes half of the time. The network takes none.
//
// Calls arrive as a Poisson process, whether or not earlier ones have been
// answered, and belong to a random client. Their rate is Load times the capacity
// of all servers in good health: those who call do not call less when a server
// is sick. So the load on the others is above Load then, by 2 to 4 percent in
// the scenarios of one or two sick servers of 50.
//
// Latency is from the arrival of a call to its end, whatever the attempts; a
// failed call counts as the timeout at least, so that failing fast is not being
// fast. Calls that arrive in the warm-up are not in the figures. Servers fall
// sick when it ends, so what it takes to notice is in them.
package sim
