-- Keeps the result of the work; returns 1, or 0 if the record has another owner.
-- One that is complete stays as it is: the answer was lost on the way.
--
-- KEYS[1]: where the record is
-- ARGV: fence, TTL in ms, result
local key = KEYS[1]
local fence, ttl, result = unpack(ARGV)

local held = redis.call('HMGET', key, 'fence', 'done')
if held[1] ~= fence then
	return 0
end
if not held[2] then
	redis.call('HSET', key, 'done', '1', 'record', result)
	redis.call('PEXPIRE', key, ttl)
end
return 1
