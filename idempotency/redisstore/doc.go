// Package redisstore keeps idempotency keys in Redis.
package redisstore
