-- Skip rows of a backfill that are not on their way. ARGV: 2 the entry's name, 3 its token ("": of any), 4 how many, 5 a note, 6 which
-- index to go through: lane:1, lane:2 or wait, 7 where to go on in it. Returns how many, and where to go on ("0": that was all);
-- -1 for an unknown name.
local eno, token, limit, gone = call('HGET', K .. 'names', ARGV[2]), ARGV[3], tonumber(ARGV[4]), 0
if not eno then return head({-1, '0'}) end
local page = call('ZSCAN', K .. ARGV[6], ARGV[7], 'COUNT', 1000)
for position = 1, #page[2], 2 do
  local id = page[2][position]
  local whose, its = string.match(id, '^(%d+):%-?%d+:b:(.*)$')
  if whose == eno and (token == '' or its == token) and gone < limit then
    local row = find(id)
    if row and row.v[STATE] <= WAITING then
      row.v[STATE], row.v[REASON], row.v[NOTE] = SKIPPED, CODE['by_hand'], ARGV[5] ~= '' and ARGV[5] or false
      save(row)
      gone = gone + 1
    end
  end
end
if gone > 0 then raise_marks(gone) end
return head({gone, page[1]})
