-- Rows by their ids, as rows.lua returns them. ARGV: 2... ids. Changes nothing.
local rows = {}
for position = 2, #ARGV do
  local row = find(ARGV[position])
  if row then
    local v = row.v
    rows[#rows + 1] = {row.id, v[STATE], v[REASON], v[CAUSE], v[ATTEMPT], v[OFFSET], v[TASK] or '', v[NOTE] or '', v[EXIT] or '',
      instant(row, RECORDED_AT) or -1, instant(row, DISPATCHED_AT) or -1, instant(row, STARTED_AT) or -1,
      instant(row, FINISHED_AT) or -1, -1}
  end
end
return head(rows)
