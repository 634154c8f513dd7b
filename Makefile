# The steps are listed once, in .ci/run; `.ci/run lint test` runs some of them.
.PHONY: check services bench semantics simulation transfers

check:
	@.ci/run

# Starts a Redis and a PostgreSQL for the tests and prints their addresses;
# `scripts/services stop` ends them.
services:
	@scripts/services

# What a call costs beside context.WithTimeout.
bench:
	go test -run '^$$' -bench . -count 6 .

# Makes 10,000 transfers against each store, with a tenth of the answers lost,
# and counts those that were made twice or not at all: 0. It takes 2 minutes.
transfers:
	for store in . redisstore pgstore; do \
		(cd idempotency/$$store && go test . -count 1 -run '^TestTransfers$$' -v -args -transfers 10000) || exit; \
	done

# Refreshes the tests named in docs/semantics.md.
semantics:
	go test -run '^TestSemantics$$' . -update

# Refreshes the tables and plots of docs/loadbalancing.md, in some 10 minutes.
simulation:
	go test ./loadbalance -run '^TestSimulation$$' -simulation.full -timeout 2h
