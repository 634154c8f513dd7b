//go:build unix

package services

import (
	"os/exec"
	"syscall"
)

// canLaunch reports whether this system has what the package uses.
const canLaunch = true

// detach makes cmd lead a process group of its own, and run as another account
// unless that is nil.
func detach(cmd *exec.Cmd, as *account) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if as != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: as.uid, Gid: as.gid}
	}
}
