package grpccall_test

import (
	"io"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/backstay-go/backstay/examples/grpc/ordersv1"
	"github.com/backstay-go/backstay/grpccall"
)

func TestStreamSmoke(t *testing.T) {
	s := &server{}
	s.watch = func(n int, req *pb.WatchRequest, st grpc.ServerStreamingServer[pb.Order]) error {
		if n < 3 {
			return status.Errorf(codes.Unavailable, "attempt %d", n)
		}
		for range 3 {
			_ = st.Send(&pb.Order{Id: req.Id})
		}
		return status.Error(codes.DataLoss, "late")
	}
	s.chat = func(n int, st grpc.BidiStreamingServer[pb.ChatMessage, pb.ChatMessage]) error {
		for {
			m, err := st.Recv()
			if err != nil {
				return nil
			}
			_ = st.Send(m)
		}
	}
	s.upload = func(n int, st grpc.ClientStreamingServer[pb.PlaceRequest, pb.ImportResponse]) error {
		k := 0
		for {
			if _, err := st.Recv(); err == io.EOF {
				return st.SendAndClose(&pb.ImportResponse{Placed: int32(k)})
			}
			k++
		}
	}
	c := start(t, s, again(), grpccall.Config{})
	st, err := c.Watch(limited(t), &pb.WatchRequest{Id: "7"})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for {
		if _, err = st.Recv(); err != nil {
			break
		}
		n++
	}
	if n != 3 || status.Code(err) != codes.DataLoss || len(s.attempts()) != 3 {
		t.Errorf("%d messages, %v, %d attempts", n, err, len(s.attempts()))
	}
	ch, err := c.Chat(limited(t))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := ch.Send(&pb.ChatMessage{Text: "x"}); err != nil {
			t.Fatal(err)
		}
		if m, err := ch.Recv(); err != nil || m.Text != "x" {
			t.Fatal(m, err)
		}
	}
	_ = ch.CloseSend()
	if _, err := ch.Recv(); err != io.EOF {
		t.Error(err)
	}
	up, err := c.Import(limited(t))
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		_ = up.Send(&pb.PlaceRequest{})
	}
	r, err := up.CloseAndRecv()
	if err != nil || r.Placed != 4 {
		t.Error(r, err)
	}
}
