-- Notes a holder's part; the sum of the others'. KEYS: name. ARGV: holder, part, now and its end in ms, its life in ms.
local now, sum = tonumber(ARGV[3]), 0
if tonumber(ARGV[2]) > 0 then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[4])
else
  redis.call('HDEL', KEYS[1], ARGV[1])
end
local parts = redis.call('HGETALL', KEYS[1])
for at = 1, #parts, 2 do
  if parts[at] ~= ARGV[1] then
    local count, ends = string.match(parts[at + 1], '^(%d+) (%d+)$')
    if ends and tonumber(ends) > now then
      sum = sum + tonumber(count)
    else
      redis.call('HDEL', KEYS[1], parts[at])
    end
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return sum
