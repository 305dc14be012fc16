-- Takes a value away if it is still this one. KEYS: name. ARGV: the value.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
