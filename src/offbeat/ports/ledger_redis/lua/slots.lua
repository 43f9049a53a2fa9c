-- Slots of directories. ARGV: 2 its name, 3 its owner, 4 microseconds to hold it ("" to free it), 5 the longest hold. 1 or 0.
local till, holder = string.match(call('HGET', K .. 'busy', ARGV[2]) or '', '^(%d+) (.*)$')
till = tonumber(till or '0')
if ARGV[4] == '' then
  if holder == ARGV[3] then call('HDEL', K .. 'busy', ARGV[2]) end
  return head(1)
end
if holder and holder ~= ARGV[3] and till > now and till <= now + tonumber(ARGV[5]) then return head(0) end
call('HSET', K .. 'busy', ARGV[2], string.format('%.0f %s', now + tonumber(ARGV[4]), ARGV[3]))
return head(1)
