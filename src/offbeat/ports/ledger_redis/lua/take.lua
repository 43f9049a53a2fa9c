-- Due groups. ARGV: 2 how many to leave out, 3 how many at most, 4 how many members are enough. Changes nothing.
-- Returns for each group: gid, its text, "cursor version", the numbers of all that ever were its members; and 1 when there may be
-- more.
local found = {}
if not believes() then return head(found, 0) end
local size, enough = 0, tonumber(ARGV[4])
local top = math.floor(now / SECOND)
for _, gid in ipairs(call('ZRANGEBYSCORE', K .. 'due', '-inf', top, 'LIMIT', ARGV[2], ARGV[3])) do
  local members = call('SMEMBERS', K .. 'm:' .. gid)
  found[#found + 1] = {gid, call('HGET', K .. 'texts', gid), call('HGET', K .. 'groups', gid), members}
  size = size + #members
  if size >= enough then break end
end
return head(found, (size >= enough or #found == tonumber(ARGV[3])) and 1 or 0)
