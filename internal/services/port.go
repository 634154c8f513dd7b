package services

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// freePort returns a port on which nobody listens.
//
// It is below 32768, from where systems take the ports of outgoing connections,
// and so is that of the Redis cluster bus, 10000 above. A client that keeps
// dialling a stopped server would otherwise be given that very port for its own
// end once in some 28000 times, be connected to itself, and keep the server from
// starting again.
func freePort() (int, error) {
	for range 100 {
		port := 10000 + rand.IntN(12768)
		l, err := net.Listen("tcp", localAddr(port))
		if err == nil {
			return port, l.Close()
		}
	}
	return 0, errors.New("no free port between 10000 and 22767")
}

func localAddr(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
