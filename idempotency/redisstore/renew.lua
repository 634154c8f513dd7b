-- Begins a new lease and TTL; returns 1, or 0 if the record has another owner.
-- One that is complete needs none.
--
-- KEYS[1]: where the record is
-- ARGV: fence, lease in ms, TTL in ms
local key = KEYS[1]
local fence, lease, ttl = unpack(ARGV)

local held = redis.call('HMGET', key, 'fence', 'done')
if held[1] ~= fence then
	return 0
end
if not held[2] then
	local time = redis.call('TIME')
	local now = time[1] * 1000 + math.floor(time[2] / 1000)
	redis.call('HSET', key, 'lease', string.format('%.0f', now + lease))
	redis.call('PEXPIRE', key, ttl)
end
return 1
