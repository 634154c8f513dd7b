# The steps are listed once, in .ci/run; `.ci/run lint test` runs some of them.
.PHONY: check services bench semantics simulation

check:
	@.ci/run

# Starts a Redis and a PostgreSQL for the tests and prints their addresses;
# `scripts/services stop` ends them.
services:
	@scripts/services

# What a call costs beside context.WithTimeout.
bench:
	go test -run '^$$' -bench . -count 6 .

# Refreshes the tests named in docs/semantics.md.
semantics:
	go test -run '^TestSemantics$$' . -update

# Refreshes the tables and plots of docs/loadbalancing.md, in some 10 minutes.
simulation:
	go test ./loadbalance -run '^TestSimulation$$' -simulation.full -timeout 2h
