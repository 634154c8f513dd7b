module github.com/backstay-go/backstay

go 1.26.0

require github.com/cenkalti/backoff/v4 v4.3.0

require github.com/sony/gobreaker/v2 v2.4.0
