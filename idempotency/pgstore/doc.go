// Package pgstore keeps idempotency keys in PostgreSQL, where all processes of a
// service find them, and lets what a request changes and the record of its
// answer be one transaction.
//
// It works with database/sql and any driver for PostgreSQL; the tests use pgx
// and lib/pq, and PostgreSQL 15.
//
//	db, err := sql.Open("pgx", "postgres://db.internal/shop")
//	...
//	store := pgstore.NewTransactional(db, pgstore.Config{})
//	err = store.Migrate(ctx)
//	...
//	go store.CleanEvery(ctx, time.Minute, func(err error) { log.Print(err) })
//	guard := idempotency.NewGuard(idempotency.GuardConfig{Store: store})
//
// A handler below the guard asks for its transaction and makes all changes in
// it. It neither commits nor rolls back: when it has answered, a success is
// committed, and anything else rolled back.
//
//	tx, err := pgstore.Tx(r.Context())
//	...
//	_, err = tx.ExecContext(r.Context(), "UPDATE accounts SET balance = balance - $1 WHERE id = $2", amount, from)
//
// # With transactions and without
//
// Use NewTransactional where doing a thing twice, or not knowing whether it was
// done, costs money. Effect and record are committed together, so a process may
// die at any moment: either both are there and the answer is replayed, or
// neither is and the work is done again by the next attempt. An owner that
// stalled until another took over cannot commit any more, and what it did
// vanishes.
//
// That holds for what is done in the transaction. A Guard does the work of a
// dead process again, as if it had left nothing behind, because the store is an
// idempotency.Transactor: set its OnLeaseExpiry to Fail if handlers have effects
// elsewhere. A call to another service wants a key that is a Child of the
// request's, and a message wants a row in a table of the same database, which
// somebody sends later.
//
// New is for effects that are not in this database. There a process that dies
// between effect and record leaves a key whose outcome nobody knows, and that is
// what a Guard answers.
//
// To go from New to NewTransactional, end the old processes before new ones
// begin, which do work again that an old one has begun without a transaction.
// Where an old one may have died at work, set OnLeaseExpiry to Fail until its
// keys have outlived their TTL.
//
// # What it costs
//
// A request is two round trips, each a commit: the claim and the record. With a
// transaction there are two more, BEGIN and COMMIT, if the handler asks for one,
// and no more commits than before, since the record's is the handler's. A replay
// is one round trip, and writes nothing. The transaction holds a connection
// until the answer is recorded, so a handler that waits for somebody else should
// ask for it late. Claims and the renewal of leases need connections too, so the
// pool wants more of them than there are transactions at the same time.
//
// Nothing is kept in a session and every statement but those of the handler is a
// transaction of its own, so PgBouncer may be on the way, in transaction mode.
// One older than 1.21 wants a driver that prepares no statements, as pgx does
// with default_query_exec_mode=exec.
//
// # What it gives up
//
// A claim lasts as a commit does. It does not survive a crash of the server
// under synchronous_commit = off, nor a failover to a replica that is
// replicated to asynchronously and has not got it yet. With a transaction the
// effect is lost with it.
//
// The stricter levels of isolation and leases do not get along well: see
// Config.Isolation.
//
// # Privacy
//
// The table holds hashes of keys and requests, and the answers as they are. A
// tracer of the driver that writes the parameters of statements to logs or spans
// writes the answers there too.
package pgstore
