// Package redisstore keeps idempotency keys in Redis, where all processes of a
// service find them.
//
//	client := redis.NewClient(&redis.Options{Addr: "redis:6379"})
//	store := redisstore.New(client, redisstore.Config{})
//	guard := idempotency.NewGuard(idempotency.GuardConfig{Store: store})
//
// A request costs two round trips: one claims the key, one keeps the answer.
// Each operation is one script over one key, so it is atomic, and at home in one
// slot of a cluster. The client may be one of a server, of a server found by
// sentinels, or of a cluster; with a client that reads from replicas claims
// still go to the master. The server is Redis 5 or newer, or one that speaks as
// it does; the tests run against Redis 7.
//
// # The trade
//
// Redis is quick because it may forget, and a key that is forgotten is a request
// that may be done twice. It forgets in three ways.
//
// When its memory is full it evicts keys, unless maxmemory-policy is noeviction.
// Check finds that out. With noeviction, all operations fail when memory is full:
// requests get 503, and what is under way then ends with an unknown outcome. So
// leave room.
//
// When it is restarted it has what is on its disk: without appendonly yes, a
// snapshot that is minutes old; with it, all but the last second; with
// appendfsync always too, everything that was answered. That is slower than the
// memory, and what this package wants. Check cannot see appendfsync.
//
// When a replica becomes the master it may lack what the old one answered last,
// since replication does not wait. min-replicas-to-write 1 has a master that has
// lost its replicas refuse claims, which makes the gap small. Neither that nor
// WAIT closes it.
//
// So use it where doing a thing twice once in a great while can be mended. Where
// it cannot, as with money, use pgstore and its transactions.
//
// # When Redis does not answer
//
// All errors are returned, and a Guard answers 503 to them unless it is told
// FailOpen. The methods return when their context ends, whatever the options of
// the client, and leave what they have sent to its fate: a claim that is done so
// late is nobody's. A Guard claims again with the same fence; for others its key
// is in progress until the lease has run out, and its outcome unknown after
// that. Nothing is done twice.
//
// # Privacy
//
// Redis holds hashes of keys and requests, and the answers as they are. A hook
// of the client that writes commands to logs or spans, as redisotel does unless
// it is told WithDBStatement(false), writes the answers there too.
package redisstore
