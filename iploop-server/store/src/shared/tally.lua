-- Adds a holder's part once for each turn; the whole. KEYS: name. ARGV: holder, turn, part, the whole at least, its life in ms.
local whole = math.max(tonumber(redis.call('HGET', KEYS[1], 'whole') or 0), tonumber(ARGV[4]))
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  whole = whole + tonumber(ARGV[3])
end
redis.call('HSET', KEYS[1], 'whole', string.format('%.0f', whole), ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return whole
