-- Write what was worked out from an earlier read, if that still holds. ARGV: 2 what, as JSON:
-- pver, stamp (null: any), cursors {gid: "cursor version"}: as they were read; hashes {name: {field: text}}; gone {name: [field]};
-- due {gid: next due time or false}; members [[gid, eno]]; rows [[eno, due time]]: pending now, or skipped when it was paused, unless they are known;
-- changes: 1 when the program changes. Returns 1, or 0 when something else was written in between.
local plan = cjson.decode(ARGV[2])
if call('HGET', META, 'pver') ~= plan.pver then return head(0) end
if null(plan.stamp) and (call('HGET', META, 'stamp') or '') ~= plan.stamp then return head(0) end
for gid, kept in pairs(plan.cursors) do
  if call('HGET', K .. 'groups', gid) ~= kept then return head(0) end
end
for name, fields in pairs(plan.hashes) do
  local flat = {}
  local function flush()
    if #flat > 0 then call('HSET', K .. name, unpack(flat)) end
    flat = {}
  end
  for field, text in pairs(fields) do
    flat[#flat + 1], flat[#flat + 2] = field, text
    if #flat >= 1000 then flush() end
  end
  flush()
end
for name, fields in pairs(plan.gone) do
  for _, field in ipairs(fields) do call('HDEL', K .. name, field) end
end
for gid, due in pairs(plan.due) do
  if due then call('ZADD', K .. 'due', due, gid) else call('ZREM', K .. 'due', gid) end
end
for _, member in ipairs(plan.members) do call('SADD', K .. 'm:' .. member[1], member[2]) end
rev = tonumber(call('HGET', META, 'rev') or '0')
local pauses = #plan.rows > 0 and call('HVALS', K .. 'pauses') or {}
local function is_paused(eno, at)
  for _, pause in ipairs(pauses) do
    local whose, from, till = string.match(pause, '^(%d+) (%-?%d+) (%S+)')
    local is_ours = whose == '0' or tonumber(whose) == eno
    if is_ours and tonumber(from) <= at and (till == '-' or at < tonumber(till)) then return true end
  end
  return false
end
for _, passed in ipairs(plan.rows) do
  local eno, due = unpack(passed)
  local row = blank(string.format('%d:%d', eno, due), CODE['cause schedule'], 0)
  if call('HEXISTS', K .. 'h:' .. row.hour, row.field) == 0 and not covering(eno, due) then
    if is_paused(eno, due * SECOND) then row.v[STATE], row.v[REASON] = SKIPPED, CODE['paused'] end
    save(row, due * SECOND)
    raise_marks()
    local last = call('HGET', K .. 'last', eno)
    if not last or tonumber(last) < due then call('HSET', K .. 'last', eno, due) end
  end
end
if plan.changes == 1 then call('HINCRBY', META, 'pver', 1) end
return head(1)
