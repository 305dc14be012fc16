-- Takes one try: 0, or microseconds to wait. KEYS: name. ARGV: now, refill, whole allowance, all in microseconds.
local now, refill, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local whole = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now) + refill
local wait = whole - now - most
if wait > 0 then
  return wait
end
redis.call('SET', KEYS[1], string.format('%.0f', whole), 'PX', string.format('%.0f', math.ceil((whole - now) / 1000)))
return 0
