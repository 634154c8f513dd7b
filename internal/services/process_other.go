//go:build !unix

package services

import "os/exec"

// detach does nothing: where there is no Unix there are no binaries to start.
func detach(*exec.Cmd, *account) {}
