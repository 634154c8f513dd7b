// Loadbalance sends the same calls to the same five services under one strategy
// after the other. It needs nothing but Go:
//
//	go run ./examples/loadbalance
package main

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/breaker"
	"github.com/backstay-go/backstay/httpcall"
	"github.com/backstay-go/backstay/loadbalance"
	"github.com/backstay-go/backstay/retry"
	"github.com/backstay-go/backstay/timeout"
)

func main() {
	fleet := startFleet()
	defer fleet.stop()
	fleet.introduce()
	fleet.printHead()

	byUser := loadbalance.HashConfig{Key: httpcall.ByHeader("X-User")}
	bounded := loadbalance.HashConfig{Key: httpcall.ByHeader("X-User"), Bound: 1.25}

	fleet.try(loadbalance.RoundRobin(), noRetry)
	fleet.try(loadbalance.PeakEWMA(), noRetry)
	for _, strategy := range []loadbalance.Strategy{
		loadbalance.RoundRobin(),
		loadbalance.Weighted(),
		loadbalance.Random(),
		loadbalance.LeastConnections(),
		loadbalance.PeakEWMA(),
		loadbalance.Hash(byUser),
		loadbalance.Hash(bounded),
		loadbalance.Rendezvous(byUser),
		loadbalance.Maglev(byUser),
		loadbalance.PrimaryReplica(httpcall.IsWrite, loadbalance.PeakEWMA()),
	} {
		fleet.try(strategy, retried)
	}
	fmt.Print(whatToSee)
}

const whatToSee = `
  Peak EWMA goes around cleo, who is slow, and every strategy with health around
  dan, who fails fast and so looks idle. Retry sends what failed to another service,
  so no call fails; hashing keeps each user where it was, however slow that is.

`

// endpoints returns those of the services that are there.
func (f *fleet) endpoints() (all []loadbalance.Endpoint) {
	for _, s := range f.services {
		if s.server != nil {
			all = append(all, loadbalance.Endpoint{Address: s.address, Weight: s.weight, Role: s.role})
		}
	}
	return all
}

// Whether failed attempts are followed by others.
const (
	noRetry = false
	retried = true
)

// try sends a second of calls under the strategy, while eve leaves and comes
// back, and prints what became of them.
func (f *fleet) try(strategy loadbalance.Strategy, retries bool) {
	balancer := loadbalance.NewBalancer(loadbalance.Config{
		Strategy:  strategy,
		Endpoints: f.endpoints(),
		Health:    loadbalance.HealthConfig{SlowStart: 300 * time.Millisecond}, // the show is short
	})
	client := &http.Client{Transport: httpcall.NewTransport(policy(balancer, retries), httpcall.Config{})}

	f.reset()
	time.AfterFunc(duration/3, func() { f.leave("eve", balancer) })
	time.AfterFunc(duration*2/3, func() { f.comeBack("eve", balancer) })
	result := measure(func(i int) error { return get(client, i) })
	client.CloseIdleConnections()

	name := strategy.String()
	if !retries {
		name += ", no retry"
	}
	f.printRow(name, result)
}

// policy is what happens to a call, from the outside in.
func policy(balancer *loadbalance.Balancer, retries bool) *backstay.Policy {
	stack := []backstay.Middleware{timeout.Call(2 * time.Second)}
	if retries {
		stack = append(stack, retry.New(retry.Config{}))
	}
	return backstay.New(append(stack,
		balancer,
		breaker.NewGroup(breaker.Config{}, breaker.ByEndpoint),
		timeout.Attempt(500*time.Millisecond),
	)...)
}

// leave takes a service out, first of the balancer and then down.
func (f *fleet) leave(name string, balancer *loadbalance.Balancer) {
	s := f.service(name)
	server := s.server
	s.server = nil
	update(balancer, f.endpoints())
	drain(server)
}

// comeBack starts a service again, on the port that it had.
func (f *fleet) comeBack(name string, balancer *loadbalance.Balancer) {
	f.service(name).start()
	update(balancer, f.endpoints())
}

func update(balancer *loadbalance.Balancer, endpoints []loadbalance.Endpoint) {
	if err := balancer.Update(endpoints...); err != nil {
		panic(err)
	}
}

// get makes the i-th call: a read or, one time in ten, a write, for one of 50
// users, the first of whom makes a fifth of all calls.
func get(client *http.Client, i int) error {
	method := http.MethodGet
	if i%10 == 0 {
		method = http.MethodPut
	}
	user := i % 50
	if i%5 == 0 {
		user = 0
	}
	req, err := http.NewRequest(method, "http://service.example/", nil)
	if err != nil {
		return err
	}
	req.Header.Set("X-User", strconv.Itoa(user))
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", resp.Status)
	}
	return nil
}
