package grpccall_test

import (
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/backstay-go/backstay/grpccall"
)

func TestConfigIsChecked(t *testing.T) {
	for _, row := range []struct {
		cfg  grpccall.Config
		want string // empty where nothing is wrong
	}{
		{grpccall.Config{}, ""},
		{grpccall.Config{ServiceConfig: "{}", BufferSize: 1, RetryOn: []codes.Code{codes.Aborted}, ServiceRetry: grpccall.OwnRetry}, ""},
		{grpccall.Config{BufferSize: -1}, "BufferSize is -1"},
		{grpccall.Config{ServiceRetry: 7}, "ServiceRetry is 7"},
		{grpccall.Config{ServiceConfig: "{"}, "no JSON object"},
		{grpccall.Config{ServiceConfig: "[]"}, "no JSON object"},
		{grpccall.Config{ServiceConfig: "null"}, "no JSON object"},
		{grpccall.Config{NoHealth: true, HealthService: "orders"}, "keep one of them"},
		{grpccall.Config{RetryOn: []codes.Code{codes.OK}}, "which is no failure"},
		{grpccall.Config{RetryOn: []codes.Code{99}}, "no status code"},
	} {
		err := row.cfg.Validate()
		if row.want == "" && err != nil || row.want != "" && !says(err, "grpccall: ", row.want) {
			t.Errorf("Validate() of %+v = %v, want %q", row.cfg, err, row.want)
		}
		if got := panicIn(func() { grpccall.DialOptions(again(), row.cfg) }); (got == nil) != (err == nil) {
			t.Errorf("DialOptions with %+v panics with %v, want %v", row.cfg, got, err)
		}
	}
}
