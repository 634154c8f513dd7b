package telemetry

import "github.com/backstay-go/backstay"

// verdict returns the resilience.call.outcome of a call and its error.type, ""
// where it has none.
func (s *callSpan) verdict(call *backstay.Call, err error) (outcome, typ string) {
	if err != nil && canceled(s.ctx) {
		return "canceled", ""
	}
	typ = errorType(s.ctx, responseOf(call), err)
	if typ == "" {
		return "success", ""
	}
	s.mu.Lock()
	gaveUp, rejected := s.gaveUp, s.rejected
	s.mu.Unlock()
	switch {
	case gaveUp != "":
		return outcomeOfGivingUp(gaveUp), typ
	case !call.Sent() && typ == other && rejected != "":
		return outcomeOf(rejected, err), typ
	}
	return outcomeOf(typ, err), typ
}

// outcomeOfGivingUp returns the outcome where a retry has said why it stopped.
func outcomeOfGivingUp(reason string) string {
	switch reason {
	case "attempts":
		return "attempts_exhausted"
	case "budget":
		return "budget_exhausted"
	case "timeout":
		return "deadline"
	case "deadline", "canceled", "circuit_open", "rate_limited", "no_endpoint":
		return reason
	}
	return "non_retryable"
}

// outcomeOf returns the outcome where nothing but the error says it.
func outcomeOf(errorType string, err error) string {
	switch errorType {
	case "circuit_open", "rate_limited", "no_endpoint", "budget_exhausted", "canceled":
		return errorType
	case "timeout":
		return "deadline"
	}
	switch backstay.Classify(err) {
	case backstay.Transient, backstay.Throttled, backstay.Pending:
		return "attempts_exhausted" // the one there was
	}
	return "non_retryable"
}
