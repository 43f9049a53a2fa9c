-- Rows of a backfill, pending. ARGV: 2 the entry's name, 3 its token, 4 rows as JSON [[due time, seconds to its send time]].
-- Returns how many were new, -1 for an unknown entry.
local eno = tonumber(call('HGET', K .. 'names', ARGV[2]) or '')
if not (eno and definition(eno)) then return head(-1) end
local new = 0
for _, planned in ipairs(cjson.decode(ARGV[4])) do
  local row = blank(string.format('%d:%d:b:%s', eno, planned[1], ARGV[3]), CODE['cause backfill'], planned[2])
  if call('HEXISTS', K .. 'h:' .. row.hour, row.field) == 0 then
    row.v[LANE] = 2
    save(row, send_at(row))
    new = new + 1
  end
end
if new > 0 then raise_marks(new) end
return head(new)
