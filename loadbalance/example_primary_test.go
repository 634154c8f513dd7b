package loadbalance_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/backstay-go/backstay"
	"github.com/backstay-go/backstay/loadbalance"
)

// Writes go to the primary, reads to a replica.
func ExamplePrimaryReplica() {
	changes := func(_ context.Context, call *backstay.Call) bool {
		statement, _ := backstay.Peek[string](call)
		return !strings.HasPrefix(statement, "SELECT")
	}
	database := loadbalance.NewBalancer(loadbalance.Config{
		Strategy: loadbalance.PrimaryReplica(changes, loadbalance.LeastConnections()),
		Endpoints: []loadbalance.Endpoint{
			{Address: "db1:5432", Role: loadbalance.Primary},
			{Address: "db2:5432"},
		},
	})
	query := backstay.Bind(backstay.New(database), backstay.Op[string, string]{
		Do: func(_ context.Context, call *backstay.Call, _ string) (string, error) { return call.Endpoint, nil },
	})
	fmt.Println(query(context.Background(), "INSERT INTO orders VALUES (7)"))
	fmt.Println(query(context.Background(), "SELECT * FROM orders"))
	// Output:
	// db1:5432 <nil>
	// db2:5432 <nil>
}
