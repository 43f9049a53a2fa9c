-- How many rows of the schedule an entry has in [first, last]. ARGV: 2 eno, 3 first, 4 last. Changes nothing.
local first, last = tonumber(ARGV[3]), tonumber(ARGV[4])
local count = 0
for _, hour in ipairs(call('ZRANGEBYSCORE', K .. 'hours', math.floor(first / 3600), math.floor(last / 3600))) do
  local cursor = '0'
  repeat
    local page = call('HSCAN', K .. 'h:' .. hour, cursor, 'MATCH', ARGV[2] .. ':*', 'COUNT', 1000)
    cursor = page[1]
    for at = 1, #page[2], 2 do
      local second = tonumber(string.match(page[2][at], '^%d+:(%d+)$') or '')
      local due = second and tonumber(hour) * 3600 + second
      if due and due >= first and due <= last then count = count + 1 end
    end
  until cursor == '0'
end
return head(count)
