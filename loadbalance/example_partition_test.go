package loadbalance_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/loadbalance"
)

// byName is the key of calls that ask for a customer.
func byName(_ context.Context, call *backstay.Call) string {
	name, _ := backstay.Peek[string](call)
	return name
}

// Customers are divided by the alphabet. When the second half has moved to a
// database of its own, the schema is swapped while calls run.
func ExamplePartitions() {
	before, _ := loadbalance.RangeSchema(
		loadbalance.Range{From: "", Partition: loadbalance.Partition{Name: "all", Endpoints: []string{"db1:5432"}}},
	)
	customers := loadbalance.NewPartitions(byName, before, loadbalance.PeakEWMA())
	policy := backstay.New(loadbalance.New(customers.Strategy(), "db1:5432", "db2:5432"))
	get := backstay.Bind(policy, backstay.Op[string, string]{
		Do: func(_ context.Context, call *backstay.Call, name string) (string, error) {
			return name + " from " + call.Endpoint, nil
		},
	})
	fmt.Println(get(context.Background(), "Zoe"))

	after, _ := loadbalance.RangeSchema(
		loadbalance.Range{From: "", Partition: loadbalance.Partition{Name: "a to m", Endpoints: []string{"db1:5432"}}},
		loadbalance.Range{From: "N", Partition: loadbalance.Partition{Name: "n to z", Endpoints: []string{"db2:5432"}}},
	)
	_ = customers.Swap(after)
	fmt.Println(get(context.Background(), "Bob"))
	fmt.Println(get(context.Background(), "Zoe"))
	// Output:
	// Zoe from db1:5432 <nil>
	// Bob from db1:5432 <nil>
	// Zoe from db2:5432 <nil>
}

// A call that spans partitions becomes one for each, at the same time.
func ExampleScatter() {
	schema, _ := loadbalance.RangeSchema(
		loadbalance.Range{From: "", Partition: loadbalance.Partition{Name: "a to m"}},
		loadbalance.Range{From: "N", Partition: loadbalance.Partition{Name: "n to z"}},
	)
	get := func(_ context.Context, names []string) (string, error) {
		p, _ := schema.Of(names[0])
		return strings.Join(names, " and ") + " from " + p.Name, nil
	}
	split := func(names []string) (parts [][]string, err error) {
		groups := schema.Group(names...)
		for _, p := range schema.Partitions() {
			if len(groups[p.Name]) > 0 {
				parts = append(parts, groups[p.Name])
			}
		}
		return parts, nil
	}
	merge := func(parts []loadbalance.Shard[[]string, string]) (string, error) {
		var all []string
		for _, p := range parts {
			all = append(all, p.Resp)
		}
		return strings.Join(all, ", "), loadbalance.JoinErrors(parts)
	}
	getAll := loadbalance.Scatter(get, split, merge)
	fmt.Println(getAll(context.Background(), []string{"Zoe", "Bob", "Ann", "Tim"}))
	// Output: Bob and Ann from a to m, Zoe and Tim from n to z <nil>
}
