-- Counts tries made since a moment; microseconds until all are back. KEYS: name. ARGV: now, since, what they cost.
local now, cost = tonumber(ARGV[1]), tonumber(ARGV[3])
local whole = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), tonumber(ARGV[2])) + cost
if cost > 0 and whole > now then
  redis.call('SET', KEYS[1], string.format('%.0f', whole), 'PX', string.format('%.0f', math.ceil((whole - now) / 1000)))
end
return math.max(whole - now, 0)
