-- Gives one try back. KEYS: name. ARGV: refill in microseconds.
local whole = redis.call('GET', KEYS[1])
if whole then
  redis.call('SET', KEYS[1], string.format('%.0f', tonumber(whole) - tonumber(ARGV[1])), 'KEEPTTL')
end
return 0
