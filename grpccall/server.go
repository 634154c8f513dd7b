package grpccall

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/backstay-go/backstay/idempotency"
	"github.com/backstay-go/backstay/internal/httpreq"
)

// replayedHeader tells a replay from the answer of the work itself.
const replayedHeader = "idempotent-replayed"

// maxKey is how many characters a key may have, as for HTTP.
const maxKey = 1024

// UnaryServerInterceptor returns an interceptor that does the work of each key
// once. The key is the metadata "idempotency-key", as it is and without quotes.
// The interceptor belongs below those that authenticate callers, that recover
// from panics and that change the request, and above what has effects:
//
//	guard := idempotency.NewGuard(idempotency.GuardConfig{})
//	server := grpc.NewServer(grpc.ChainUnaryInterceptor(
//		authenticate,
//		grpccall.UnaryServerInterceptor(guard, grpccall.ServerConfig{
//			Methods: []string{"/bank.v1.Bank/Transfer"},
//			Tenant:  account,
//		}),
//	))
//
// A call with a new key is passed on, and the answer is kept before it is sent.
// The same call again gets the same message, or the same status with its
// details, the metadata named in Headers, and "idempotent-replayed: true". The
// same call has the same method and message, fields that the server does not
// know included. Kept are OK and all codes but those of Release.
//
// A call that is not served gets a status with a google.rpc.ErrorInfo whose
// Domain is "github.com/backstay-go/backstay", whose Reason tells which error of
// package idempotency it is, and in two cases a google.rpc.RetryInfo:
//
//	INVALID_ARGUMENT     IDEMPOTENCY_MISSING          ErrMissing
//	ABORTED              IDEMPOTENCY_IN_PROGRESS      ErrInProgress, with RetryInfo
//	FAILED_PRECONDITION  IDEMPOTENCY_MISMATCH         ErrMismatch
//	FAILED_PRECONDITION  IDEMPOTENCY_OUTCOME_UNKNOWN  ErrOutcomeUnknown
//	FAILED_PRECONDITION  IDEMPOTENCY_NOT_KEPT         ErrNotKept
//	UNAVAILABLE          IDEMPOTENCY_UNAVAILABLE      ErrUnavailable, with RetryInfo
//	RESOURCE_EXHAUSTED   IDEMPOTENCY_TOO_LARGE        ErrTooLarge
//	PERMISSION_DENIED    IDEMPOTENCY_NO_TENANT        ErrNoTenant
//
// The context of the handler does not end when the caller goes, nor with the
// caller's deadline: see idempotency.Guard.Do. Metadata that the handler sets or
// sends goes out together with the answer. For grpc.SetSendCompressor and
// grpc.ClientSupportedCompressors, which do without interceptors, there is no
// stream in that context.
//
// Messages are those of protobuf. A call with another gets INTERNAL, and an
// answer that is another is not kept. Nor can an answer be repeated whose type is
// not among protoregistry.GlobalTypes, where generated code puts it: who asks
// again is told that it was done. Servers of different versions may take the
// same call for two, with a mismatch, if one of them knows fewer fields.
//
// There is no interceptor for streams: what a stream has sent cannot be taken
// back, and is not kept.
//
// It panics if cfg is not valid.
func UnaryServerInterceptor(guard *idempotency.Guard, cfg ServerConfig) grpc.UnaryServerInterceptor {
	if guard == nil {
		panic("grpccall: the guard is nil; give one of idempotency.NewGuard")
	}
	if err := cfg.Validate(); err != nil {
		panic(err.Error())
	}
	s := &server{guard: guard, cfg: cfg.defaults(guard)}
	s.methods.of = defined
	return s.unary
}

type server struct {
	guard   *idempotency.Guard
	cfg     ServerConfig
	methods methods
}

// guards reports whether calls of the method need a key.
func (s *server) guards(method string) bool {
	service := method[:strings.LastIndexByte(method, '/')+1]
	return slices.Contains(s.cfg.Methods, method) ||
		slices.Contains(s.cfg.Methods, service) && !s.methods.get(method).idempotent
}

func (s *server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if !s.guards(info.FullMethod) {
		return next(ctx, req)
	}
	values := metadata.ValueFromIncomingContext(ctx, keyHeader)
	if len(values) == 0 && s.cfg.Optional {
		return next(ctx, req)
	}
	r, err := s.request(ctx, info.FullMethod, values, req)
	if err != nil {
		return nil, err
	}
	return s.once(ctx, r, func(ctx context.Context) (any, error) { return next(ctx, req) })
}

// request returns what is to be done once, or the status that says why it is
// not.
func (s *server) request(ctx context.Context, method string, values []string, req any) (idempotency.Request, error) {
	key, fault := httpreq.ReadKey(values, keyHeader, false, maxKey)
	if fault != "" {
		return idempotency.Request{}, s.refuse(ctx, idempotency.ErrMissing, fault)
	}
	tenant := s.cfg.Tenant(ctx)
	if tenant == "" {
		return idempotency.Request{}, s.refuse(ctx, idempotency.ErrNoTenant, "the call does not say whose it is; make it with the credentials of an account")
	}
	payload, err := s.payload(ctx, req)
	if err != nil {
		return idempotency.Request{}, err
	}
	fingerprint := idempotency.FingerprintOf([]byte("grpc"), []byte(method), payload)
	return idempotency.Request{Tenant: tenant, Key: key, Fingerprint: fingerprint}, nil
}

// payload returns what the request has in common with those of all attempts.
func (s *server) payload(ctx context.Context, req any) ([]byte, error) {
	m := messageOf(req)
	if m == nil {
		return nil, status.Errorf(codes.Internal, "grpccall: a %T is no protobuf message and cannot be told from others; nothing was done", req)
	}
	if proto.Size(m) > s.cfg.MaxRequest {
		return nil, s.refuse(ctx, idempotency.ErrTooLarge, fmt.Sprintf("the message has more than %d bytes; send at most that many", s.cfg.MaxRequest))
	}
	p, err := deterministic.Marshal(m)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "grpccall: a %T cannot be written and be told from others; nothing was done", req)
	}
	return p, nil
}

func (s *server) refuse(ctx context.Context, is error, detail string) error {
	return keyRefusal(s.guard.Refuse(ctx, is, detail))
}

// once serves the call if it is the first with its key, or else repeats what the
// first was answered.
func (s *server) once(ctx context.Context, r idempotency.Request, next func(context.Context) (any, error)) (resp any, failed error) {
	stream := newHeldStream(ctx)
	record, replayed, err := s.guard.Do(ctx, r, func(ctx context.Context) idempotency.Result {
		resp, failed = next(stream.in(ctx))
		foreign, open := foreignKey(failed)
		if foreign != nil {
			failed = foreign
		}
		res := s.result(stream, resp, failed)
		if open && res.Verdict == idempotency.Release {
			res.Verdict = idempotency.Reject
		}
		return res
	})
	switch {
	case err != nil:
		return nil, keyRefusal(err) // whatever the handler has said is not what counts
	case replayed:
		return s.replay(ctx, record)
	}
	stream.send()
	return resp, failed
}

// result is what the answer means for the key.
func (s *server) result(stream *heldStream, resp any, failed error) idempotency.Result {
	var res idempotency.Result
	st := statusOfHandler(failed)
	switch {
	case failed == nil:
	case st.Code() == codes.OK: // a mistake, which nobody can repeat
		res.NotKept = true
		return res
	case s.cfg.Release(st.Code()):
		res.Verdict = idempotency.Release
	default:
		res.Verdict = idempotency.Reject
	}
	r, ok := newReply(resp, st, s.cfg.MaxAnswer)
	if !ok {
		res.NotKept = true
		return res
	}
	header, trailer := stream.end()
	r.Header, r.Trailer = binary(header, s.cfg.Headers), binary(trailer, s.cfg.Headers)
	res.Record = r.encode()
	return res
}

// statusOfHandler returns the status that a grpc.Server makes of what a handler
// has returned.
func statusOfHandler(err error) *status.Status {
	if st, ok := status.FromError(err); ok {
		return st
	}
	return status.FromContextError(err)
}

// replay repeats the answer that is kept.
func (s *server) replay(ctx context.Context, record []byte) (any, error) {
	r, err := decodeReply(record)
	if err != nil {
		return nil, keyRefusal(s.guard.Unreadable(ctx, err))
	}
	resp, failed, err := r.answer()
	if err != nil {
		return nil, keyRefusal(s.guard.Unreadable(ctx, err))
	}
	header := text(r.Header, s.cfg.Headers)
	header.Set(replayedHeader, "true")
	_ = grpc.SetHeader(ctx, header) // a caller who has gone is nobody to tell
	_ = grpc.SetTrailer(ctx, text(r.Trailer, s.cfg.Headers))
	return resp, failed
}
