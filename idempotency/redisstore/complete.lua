-- Keeps the result of the work; returns 1, or 0 if the record has another owner.
--
-- KEYS[1]: where the record is
-- ARGV: fence, TTL in ms, and the result unless it is not to be kept
local key = KEYS[1]
local fence, ttl, result = unpack(ARGV)

if redis.call('HGET', key, 'fence') ~= fence then
	return 0
end
if result then
	redis.call('HSET', key, 'done', '1', 'record', result)
else
	redis.call('HSET', key, 'done', '1')
	redis.call('HDEL', key, 'record')
end
redis.call('PEXPIRE', key, ttl)
return 1
