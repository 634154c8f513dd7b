# The steps are listed once, in .ci/run; `.ci/run lint test` runs some of them.
.PHONY: check bench semantics

check:
	@.ci/run

# What a call costs beside context.WithTimeout.
bench:
	go test -run '^$$' -bench . -count 6 .

# Refreshes the tests named in docs/semantics.md.
semantics:
	go test -run '^TestSemantics$$' . -update
