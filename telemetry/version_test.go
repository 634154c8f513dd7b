package telemetry

import (
	"runtime/debug"
	"testing"
)

// T-13
func TestVersionComesFromTheBuild(t *testing.T) {
	own := debug.Module{Path: modulePath, Version: "v1.2.3"}
	for _, row := range []struct {
		info debug.BuildInfo
		want string
	}{
		{debug.BuildInfo{Main: own}, "v1.2.3"},
		{debug.BuildInfo{Main: debug.Module{Path: "a.example/app", Version: "v9.9.9"}, Deps: []*debug.Module{{Path: modulePath + "x", Version: "v8.8.8"}, &own}}, "v1.2.3"},
		{debug.BuildInfo{Main: debug.Module{Path: "a.example/app", Version: "v9.9.9"}}, ""},
	} {
		if got := versionIn(&row.info); got != row.want {
			t.Errorf("versionIn(%v) = %q, want %q", row.info, got, row.want)
		}
	}
}
