# The steps are listed once, in .ci/run; `.ci/run lint test` runs some of them.
.PHONY: check bench semantics simulation

check:
	@.ci/run

# What a call costs beside context.WithTimeout.
bench:
	go test -run '^$$' -bench . -count 6 .

# Refreshes the tests named in docs/semantics.md.
semantics:
	go test -run '^TestSemantics$$' . -update

# Refreshes the tables and plots of docs/loadbalancing.md, in some 10 minutes.
simulation:
	go test ./loadbalance -run '^TestSimulation$$' -simulation.full -timeout 2h
