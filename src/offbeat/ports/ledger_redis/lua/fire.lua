-- A manual row, due now, born claimed. ARGV: 2 the runner's tag, 3 the entry's name, 4 a token, 5 "" or its own call as JSON
-- [queue, expires, command, text], 6 what the book says of a new name. Returns how it stands, "" for an unknown entry.
local runner, name, token, own = tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
local eno = tonumber(call('HGET', K .. 'names', name) or '')
if own == '' and not (eno and definition(eno)) then return head('') end
if not eno then
  eno = call('HINCRBY', META, 'next_eno', 1)
  call('HSET', K .. 'names', name, eno)
  call('HSET', K .. 'book', eno, ARGV[6])
  call('HINCRBY', META, 'pver', 1)  -- who works out a revision must not give the number away again
end
local due = call('HGET', K .. 'fired', eno .. ':' .. token)
if due then
  local row = find(string.format('%d:%s:m:%s', eno, due, token))
  return head(standing(row, held_by(row, runner) and told(row)))
end
due = string.format('%.0f', math.floor(now / SECOND))
local row = blank(string.format('%d:%s:m:%s', eno, due, token), CODE['cause manual'], 0)
call('HSET', K .. 'fired', eno .. ':' .. token, due)
if own ~= '' then
  row.v[OWN_CALL] = 1
  call('HSET', K .. 'calls', row.id, own)
end
hold(row, runner)
raise_marks()
return head(standing(row, told(row)))
