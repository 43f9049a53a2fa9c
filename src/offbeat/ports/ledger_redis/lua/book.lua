-- What the program says of some entries. ARGV: 2... their numbers. Changes nothing.
-- Returns all pauses, and for each number its text, "" without.
local texts = {}
for position = 2, #ARGV do
  texts[#texts + 1] = call('HGET', K .. 'book', ARGV[position]) or ''
end
local pauses, flat = {}, call('HGETALL', K .. 'pauses')
for position = 1, #flat, 2 do pauses[#pauses + 1] = {flat[position], flat[position + 1]} end
return head(pauses, texts)
