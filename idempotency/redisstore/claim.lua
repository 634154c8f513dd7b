-- Claims the record of an ID.
--
-- KEYS[1]: where the record is
-- ARGV: fingerprint, fence, lease in ms, TTL in ms, whether to take over ('1')
--
-- The record is a hash: fingerprint, fence, lease (when it ends, in ms since
-- 1970) and, of one that is complete, done and record.
local key = KEYS[1]
local fingerprint, fence, lease, ttl, takeover = unpack(ARGV)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function claim()
	redis.call('HSET', key,
		'fingerprint', fingerprint,
		'fence', fence,
		'lease', string.format('%.0f', now + lease))
	redis.call('PEXPIRE', key, ttl)
	return {'claimed'}
end

if redis.call('EXISTS', key) == 0 then
	return claim()
end

local held = redis.call('HMGET', key, 'fingerprint', 'fence', 'lease', 'done')
local ends = tonumber(held[3] or '')
if not (held[1] and held[2] and ends) then
	return redis.error_reply('BADRECORD the key holds something else')
end
if held[1] ~= fingerprint then
	return {'mismatch'}
end
if held[4] then
	return {'done', redis.call('HGET', key, 'record')}
end
if held[2] == fence then
	return claim()
end
if now < ends then
	return {'in progress', ends - now}
end
if takeover == '1' then
	return claim()
end
return {'abandoned'}
