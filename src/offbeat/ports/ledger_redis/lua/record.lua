-- Write windows by compare and set. ARGV: 2 the runner's tag, 3 the revision, 4 the windows as JSON.
-- A window: [gid, version, after, until, next due or null, rows, gaps]; a row: [eno, due, offset, lane, cause, reason]; a gap:
-- [eno or 0, after, until, reason, who]. Returns the rows that the runner holds of them.
local runner = tonumber(ARGV[2])
local open = tonumber(ARGV[3]) == rev and rev > 0 and believes()
local held = {}

local function moved(gid, version, after, till, next_due)
  local kept = call('HGET', K .. 'groups', gid)
  if not open or kept ~= string.format('%d %d', after, version) then return false end
  if till < after or till * SECOND > now then return false end
  call('HSET', K .. 'groups', gid, string.format('%d %d', till, version))
  if next_due then call('ZADD', K .. 'due', next_due, gid) else call('ZREM', K .. 'due', gid) end
  return true
end

local function write(planned)
  local eno, due, offset, lane, reason = planned[1], planned[2], planned[3], planned[4], CODE[planned[6]]
  local last = call('HGET', K .. 'last', eno)
  if not last or tonumber(last) < due then call('HSET', K .. 'last', eno, due) end
  local row = blank(string.format('%d:%d', eno, due), CODE['cause ' .. planned[5]], offset)
  if call('HEXISTS', K .. 'h:' .. row.hour, row.field) == 1 then return end
  row.v[LANE], row.v[REASON] = lane, reason
  if reason ~= 1 then
    row.v[STATE] = SKIPPED
    save(row)
  elseif send_at(row) <= now and lane == 0 then
    if hold(row, runner) then held[#held + 1] = told(row, now + LEASE) end
  else
    save(row, send_at(row))
  end
end

for _, window in ipairs(cjson.decode(ARGV[4])) do
  local gid, version, after, till, next_due, rows, gaps = unpack(window)
  if moved(gid, version, after, till, null(next_due)) then
    raise_seq()
    for _, gap in ipairs(gaps) do
      local id = call('HINCRBY', META, 'next_gap', 1)
      call('ZADD', K .. 'gaps', gap[3], string.format('%d %d %d %d %.0f %s %d %s', gid, gap[1], gap[2], gap[3], now, gap[4], id, gap[5]))
    end
    for _, planned in ipairs(rows) do write(planned) end
  else
    for _, planned in ipairs(rows) do
      local row = find(string.format('%d:%d', planned[1], planned[2]))
      if held_by(row, runner) then held[#held + 1] = told(row) end
    end
  end
end
return head(held)
