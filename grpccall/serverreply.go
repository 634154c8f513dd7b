package grpccall

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// A reply is an answer as it is kept. The values of metadata may be binary.
type reply struct {
	Code    uint32              `json:"code"`           // codes.Code reads only those it has a name for
	Type    string              `json:"type,omitempty"` // of the message, if the code is OK
	Header  map[string][][]byte `json:"header,omitempty"`
	Trailer map[string][][]byte `json:"trailer,omitempty"`
	body    []byte              // the message, or the google.rpc.Status
}

// newReply returns the reply that has the message, or the status if the call has
// failed. It reports whether that can be kept in at most so many bytes.
func newReply(resp any, st *status.Status, most int) (r reply, ok bool) {
	r.Code = uint32(st.Code())
	m := messageOf(resp)
	switch {
	case st.Code() != codes.OK:
		p := st.Proto()
		// Bytes that are no UTF-8 are sent as this, and cannot be in a message.
		p.Message = string([]rune(p.GetMessage()))
		m = p
	case m == nil:
		return reply{}, false
	default:
		r.Type = string(m.ProtoReflect().Descriptor().FullName())
	}
	if proto.Size(m) > most {
		return reply{}, false
	}
	body, err := deterministic.Marshal(m)
	r.body = body
	return r, err == nil
}

// messageOf returns what the codec of gRPC takes v for, or nil if that can do
// nothing with it.
func messageOf(v any) proto.Message {
	switch v := v.(type) {
	case proto.Message:
		return v
	case protoadapt.MessageV1:
		return protoadapt.MessageV2Of(v)
	}
	return nil
}

// deterministic writes equal messages alike. That fields are missing is for the
// codec to find.
var deterministic = proto.MarshalOptions{Deterministic: true, AllowPartial: true}

// encode returns the reply as a line of JSON, for people who look into the
// store, and the body as it is.
func (r reply) encode() []byte {
	head, err := json.Marshal(r)
	if err != nil {
		panic("grpccall: " + err.Error()) // a number and strings
	}
	return slices.Concat(head, []byte{'\n'}, r.body)
}

// decodeReply reads what encode has written. No text of its errors has anything
// of the record but the type of its message.
func decodeReply(record []byte) (reply, error) {
	head, body, found := bytes.Cut(record, []byte{'\n'})
	r := reply{body: body}
	if !found || json.Unmarshal(head, &r) != nil {
		return reply{}, fmt.Errorf("grpccall: a record of %d bytes is no reply", len(record))
	}
	return r, nil
}

// answer returns the message of the reply, or the error that has its status.
func (r reply) answer() (resp any, failed, err error) {
	if codes.Code(r.Code) != codes.OK {
		p := new(spb.Status)
		if proto.Unmarshal(r.body, p) != nil || uint32(p.GetCode()) != r.Code {
			return nil, nil, fmt.Errorf("grpccall: %d bytes of a record are no status", len(r.body))
		}
		return nil, status.FromProto(p).Err(), nil
	}
	t, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(r.Type))
	if err != nil {
		return nil, nil, fmt.Errorf("grpccall: a record has a message of a type that this program does not have: %q", r.Type)
	}
	m := t.New().Interface()
	if (proto.UnmarshalOptions{AllowPartial: true}).Unmarshal(r.body, m) != nil {
		return nil, nil, fmt.Errorf("grpccall: %d bytes of a record are no %s", len(r.body), r.Type)
	}
	return m, nil, nil
}

// binary returns what md has under the names.
func binary(md metadata.MD, names []string) map[string][][]byte {
	kept := map[string][][]byte{}
	for _, name := range names {
		for _, v := range md[name] {
			kept[name] = append(kept[name], []byte(v))
		}
	}
	return kept
}

// text returns what was kept under the names. Whoever can write to the store
// cannot have others sent.
func text(kept map[string][][]byte, names []string) metadata.MD {
	md := metadata.MD{}
	for _, name := range names {
		for _, v := range kept[name] {
			md.Append(name, string(v))
		}
	}
	return md
}
