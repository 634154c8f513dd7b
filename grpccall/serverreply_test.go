package grpccall_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/backstay-go/backstay/grpccall"
	"github.com/backstay-go/backstay/idempotency"
)

// A forger is a Store that gives records that nobody has stored.
type forger struct {
	idempotency.Store
	record []byte
}

func (s *forger) Claim(context.Context, idempotency.Claim) (idempotency.Answer, error) {
	return idempotency.Answer{State: idempotency.Done, Record: s.record}, nil
}

// What cannot be read was done all the same.
func TestARecordThatCannotBeReadIsNotReplayed(t *testing.T) {
	for _, record := range []string{
		"", "\n", "{}", "{}\n", `{"code":0}` + "\n", `{"code":0,"type":"bank.v1.Unheard"}` + "\n",
		`{"code":0,"type":"grpc.testing.SimpleResponse"}` + "\nSECRET-MARKER", `{"code":5}` + "\nSECRET-MARKER", `{"code":5}` + "\n",
		`{"code":5}` + "\n\x08\x06", `{"code":-1}` + "\n", `{"code":"SECRET-MARKER"}` + "\n", `{"code":0,"header":{"a":"SECRET-MARKER"}}` + "\n",
		`{"status":200,"header":{}}` + "\nbody of HTTP",
	} {
		b := openBank(t, idempotency.GuardConfig{Store: &forger{record: []byte(record)}}, onceOnly())
		wantRefused(t, fmt.Sprintf("a replay of %q", record), b.call(t, "k"), codes.FailedPrecondition, idempotency.ErrNotKept)
		if said := b.said(); strings.Contains(said, secretKey) || !strings.Contains(said, string(idempotency.StoreFailed)) {
			t.Errorf("a replay of %q told %s, want that the store failed and nothing of the record", record, said)
		}
	}
}

// I-16: whoever can write to the store cannot have other metadata sent.
func TestAReplayHasNoOtherMetadataThanThatOfTheList(t *testing.T) {
	record := `{"code":0,"type":"grpc.testing.SimpleResponse","header":{"location":["LzE="],"set-cookie":["YQ=="],"":["YQ=="],"grpc-status":["MQ=="]},"trailer":{"grpc-retry-pushback-ms":["MA=="]}}` + "\n"
	b := openBank(t, idempotency.GuardConfig{Store: &forger{record: []byte(record)}}, onceOnly("location"))
	a := b.call(t, "k")
	delete(a.header, "content-type")
	if a.st.Code() != codes.OK || len(a.header) != 2 || a.header.Get("location")[0] != "/1" || len(a.trailer) != 0 {
		t.Errorf("replay of a record that was forged = %v, %q, %q, want location and idempotent-replayed", a.st, a.header, a.trailer)
	}
}

// Whatever a handler answers is repeated as it was, or said not to be kept, and
// whatever is in the store is repeated or said not to be readable.
func FuzzReply(f *testing.F) {
	st, err := status.New(codes.NotFound, "no account").WithDetails(&errdetails.ErrorInfo{Reason: "POOR"})
	if err != nil {
		f.Fatal(err)
	}
	body, err := proto.Marshal(st.Proto())
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"code":5}`+"\n"+string(body)), uint32(5), "no account", []byte("1"))
	f.Add([]byte(`{"code":0,"type":"grpc.testing.SimpleResponse","header":{"kept-bin":["AP8="]}}`+"\n\x12\x01a"), uint32(0), "a", []byte{0, 255})
	f.Add([]byte(`{"code":0,"type":"google.protobuf.Any"}`+"\n"), uint32(77), "\xff", []byte{})
	f.Add([]byte("\n"), uint32(1<<31), "", []byte("\n"))
	f.Fuzz(func(t *testing.T, record []byte, code uint32, text string, value []byte) {
		failed := status.Error(codes.Code(code), text)
		served := func(store idempotency.Store) (any, *bareStream, error) {
			interceptor := grpccall.UnaryServerInterceptor(idempotency.NewGuard(idempotency.GuardConfig{Store: store}), onceOnly("kept-bin"))
			s := &bareStream{}
			ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("idempotency-key", "k"))
			resp, err := interceptor(grpc.NewContextWithServerTransportStream(ctx, s), &testpb.SimpleRequest{}, &grpc.UnaryServerInfo{FullMethod: unaryCall}, func(ctx context.Context, _ any) (any, error) {
				if err := grpc.SetTrailer(ctx, metadata.Pairs("kept-bin", string(value))); err != nil {
					t.Errorf("SetTrailer = %v, want nil", err)
				}
				return &testpb.SimpleResponse{Username: text}, failed
			})
			return resp, s, err
		}

		if resp, s, err := served(&forger{record: record}); err == nil {
			if _, ok := resp.(proto.Message); !ok || s.header.Get("idempotent-replayed") == nil {
				t.Errorf("replay of %q = %v, %v, want a message, replayed", record, resp, s.header)
			}
		} else if status.Code(err) == codes.OK {
			t.Errorf("replay of %q = %v, want a status", record, err)
		}

		memory := idempotency.NewMemory(idempotency.MemoryConfig{})
		first, _, err1 := served(memory)
		again, s, err2 := served(memory)
		switch {
		case grpccall.Released(codes.Code(code)):
			if s.header.Get("idempotent-replayed") != nil {
				t.Errorf("code %d was repeated, want it done again", code)
			}
			return
		case err1 == nil && status.Code(err2) == codes.FailedPrecondition && strings.ToValidUTF8(text, "") != text:
			return // no codec would have sent the first
		}
		if want := string([]rune(status.Convert(err1).Message())); status.Code(err2) != status.Code(err1) || status.Convert(err2).Message() != want {
			t.Errorf("%v again = %v, want the same", err1, err2)
		}
		if m, ok := again.(proto.Message); err1 == nil && (!ok || !proto.Equal(m, first.(proto.Message))) {
			t.Errorf("%v again = %v, want the same", first, again)
		}
		if got := s.trailer["kept-bin"]; len(got) != 1 || got[0] != string(value) {
			t.Errorf("the trailer again = %q, want %q", got, value)
		}
	})
}

// A bareStream is a grpc.ServerTransportStream without a server.
type bareStream struct{ header, trailer metadata.MD }

func (*bareStream) Method() string { return unaryCall }

func (s *bareStream) SetHeader(md metadata.MD) error {
	s.header = metadata.Join(s.header, md)
	return nil
}

func (s *bareStream) SendHeader(md metadata.MD) error { return s.SetHeader(md) }

func (s *bareStream) SetTrailer(md metadata.MD) error {
	s.trailer = metadata.Join(s.trailer, md)
	return nil
}
