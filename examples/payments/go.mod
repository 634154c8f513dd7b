module github.com/backstay-go/backstay/examples/payments

go 1.26.0

replace (
	github.com/backstay-go/backstay => ../..
	github.com/backstay-go/backstay/idempotency/pgstore => ../../idempotency/pgstore
)

require (
	github.com/backstay-go/backstay v0.0.0-00010101000000-000000000000
	github.com/backstay-go/backstay/idempotency/pgstore v0.0.0-00010101000000-000000000000
	github.com/jackc/pgx/v5 v5.12.0
)

require (
	github.com/cenkalti/backoff/v4 v4.3.0 // indirect
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	github.com/jackc/puddle/v2 v2.2.3 // indirect
	golang.org/x/sync v0.23.0 // indirect
	golang.org/x/text v0.42.0 // indirect
)
