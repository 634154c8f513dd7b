package pgstore

import "strings"

// statements are all that a Store asks of the server.
//
// Each is a transaction of its own and leaves nothing behind in the session, so
// that a proxy such as PgBouncer may give every one another connection. The
// time is clock_timestamp(), since now() stands still while a statement waits
// for a lock.
type statements struct {
	claim, renew, complete, completePending, release, clean string
}

func statementsFor(t table) statements {
	in := func(s string) string { return strings.ReplaceAll(s, "{table}", t.quoted) }
	return statements{
		claim:           in(claimSQL),
		renew:           in(renewSQL),
		complete:        in(completeSQL),
		completePending: in(completeSQL + pendingSQL),
		release:         in(releaseSQL + pendingSQL),
		clean:           in(cleanSQL),
	}
}

// claimSQL returns the state that Claim answers, and what belongs to it. It
// returns no row if another was quicker: then what this statement can see is
// out of date, and the next one tells.
//
// A refusal is seen without a lock and without a write, so that a replay waits
// for nobody. Where there is none the row is inserted or, under its lock and if
// the work is still the claimer's, changed.
//
// The lock_timeout is that of this statement only, and costs no round trip of
// its own: the row that is to be inserted depends on it.
const claimSQL = `
WITH refusal AS MATERIALIZED (
	SELECT * FROM (
		SELECT
			CASE
				WHEN fingerprint <> $2 THEN 'mismatch'
				WHEN record IS NOT NULL THEN 'done'
				WHEN fence = $3 THEN NULL
				WHEN lease_until > now THEN 'in progress'
				WHEN NOT $6::boolean THEN 'abandoned'
			END AS state,
			CASE WHEN fingerprint = $2 THEN record END AS record,
			extract(epoch FROM lease_until - now)::float8 AS lease_left
		FROM {table}, (SELECT clock_timestamp() AS now) AS clock
		WHERE id = $1 AND expires_at > now
	) AS seen
	WHERE state IS NOT NULL
), wait AS MATERIALIZED (
	SELECT set_config('lock_timeout', $7, true)
), claimed AS (
	INSERT INTO {table} AS r (id, fingerprint, fence, lease_until, expires_at)
	SELECT $1::bytea, $2::bytea, $3::bytea,
		clock_timestamp() + make_interval(secs => $4),
		clock_timestamp() + make_interval(secs => $5)
	FROM wait
	WHERE NOT EXISTS (SELECT FROM refusal)
	ON CONFLICT (id) DO UPDATE SET
		fingerprint = EXCLUDED.fingerprint,
		fence = EXCLUDED.fence,
		claimed_at = clock_timestamp(),
		lease_until = clock_timestamp() + make_interval(secs => $4),
		record = NULL,
		expires_at = clock_timestamp() + make_interval(secs => $5)
	WHERE r.expires_at <= clock_timestamp()
		OR r.record IS NULL
			AND r.fingerprint = EXCLUDED.fingerprint
			AND (r.fence = EXCLUDED.fence OR $6::boolean AND r.lease_until <= clock_timestamp())
	RETURNING 'claimed'::text AS state
)
SELECT state, NULL::bytea, 0::float8 FROM claimed
UNION ALL
SELECT state, record, lease_left FROM refusal`

// renewSQL and completeSQL count a record that is complete, and leave it and its
// TTL as they are: the owner did not get the answer the first time. Its lease
// means nothing any more.
const renewSQL = `
UPDATE {table} SET
	lease_until = clock_timestamp() + make_interval(secs => $3),
	expires_at = CASE WHEN record IS NULL
		THEN clock_timestamp() + make_interval(secs => $4) ELSE expires_at END` + ownSQL

const completeSQL = `
UPDATE {table} SET
	record = coalesce(record, $3),
	expires_at = CASE WHEN record IS NULL
		THEN clock_timestamp() + make_interval(secs => $4) ELSE expires_at END` + ownSQL

const releaseSQL = `
DELETE FROM {table}` + ownSQL

const (
	ownSQL     = "\nWHERE id = $1 AND fence = $2 AND expires_at > clock_timestamp()"
	pendingSQL = " AND record IS NULL"
)

// cleanSQL deletes some rows that have expired, the oldest first. It passes by
// those that are locked: they are being claimed anew. A row that is claimed
// after this statement began is looked at again once it is locked, and stays.
//
// now() can be looked up in the index, and clock_timestamp() cannot, which may
// have another value for each row. The array is made once; the rows of an IN
// might be locked over and over.
const cleanSQL = `
DELETE FROM {table} WHERE id = ANY (ARRAY(
	SELECT id FROM {table}
	WHERE expires_at <= now()
	ORDER BY expires_at
	LIMIT $1
	FOR UPDATE SKIP LOCKED))`
