//go:build !unix

package services

import "os/exec"

// canLaunch reports whether this system has what the package uses.
const canLaunch = false

func detach(*exec.Cmd, *account) {}
