-- What is kept of each idempotency key.
CREATE TABLE IF NOT EXISTS idempotency_keys (
	-- A hash of whose key it is and of the key itself.
	id bytea PRIMARY KEY,

	-- A hash of the request: another request must not use the key.
	fingerprint bytea NOT NULL,

	-- Tells the owner, who does the work, from those before and after.
	fence bytea NOT NULL,

	-- When the owner claimed the key, and until when it may be silent.
	claimed_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
	lease_until timestamptz NOT NULL,

	-- The result of the work. NULL: it is not complete.
	record bytea,

	-- From then on it is as if the row were not there, and Clean deletes it.
	expires_at timestamptz NOT NULL
);

-- For Clean. Complete moves expires_at, so that its update writes to this index
-- too and leaves a dead row behind: one for each request, as the deletion does.
-- A busy table wants its autovacuum to come more often than at the default of
-- one row in five:
--
--	ALTER TABLE idempotency_keys SET (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX IF NOT EXISTS idempotency_keys_expires_at ON idempotency_keys (expires_at);
