-- Removes the record; returns 1, or 0 if it has another owner or is complete.
--
-- KEYS[1]: where the record is
-- ARGV: fence
local held = redis.call('HMGET', KEYS[1], 'fence', 'done')

if held[1] ~= ARGV[1] or held[2] then
	return 0
end
redis.call('DEL', KEYS[1])
return 1
