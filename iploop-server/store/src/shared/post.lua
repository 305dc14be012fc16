-- Puts a holder's card on a board; the others' that hold, each behind its holder. KEYS: name. ARGV: holder, card, now and the
-- card's end in ms, its life in ms.
local now, others = tonumber(ARGV[3]), {}
redis.call('HSET', KEYS[1], ARGV[1], ARGV[4] .. ' ' .. ARGV[2])
local cards = redis.call('HGETALL', KEYS[1])
for at = 1, #cards, 2 do
  if cards[at] ~= ARGV[1] then
    local ends, card = string.match(cards[at + 1], '^(%d+) (.*)$')
    if ends and tonumber(ends) > now then
      table.insert(others, cards[at])
      table.insert(others, card)
    else
      redis.call('HDEL', KEYS[1], cards[at])
    end
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return others
