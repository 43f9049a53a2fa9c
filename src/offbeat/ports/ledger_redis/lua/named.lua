-- Rows by their ids, as rows.lua returns them, without the next try. ARGV: 2... ids. Changes nothing.
local rows = {}
for position = 2, #ARGV do
  local row = find(ARGV[position])
  if row then rows[#rows + 1] = shown(row.id, row.due, row.v, -1) end
end
return head(rows)
