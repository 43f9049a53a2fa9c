-- Write windows by compare and set; push what is due now and came with its message. ARGV: 2 the runner's tag, 3 the revision,
-- 4 the windows as JSON, 5 the program's version by which they tell of definitions, 6 until when messages may be pushed, 7 the
-- database of our keys, 8... task id and payload of each message.
-- A window: [gid, version, after, until, next due or null, runs, gaps]; a gap: [eno or 0, after, until, reason, who].
-- A run, of rows that are alike: [due, offset, lane, cause, reason, 1 for commands, expires (s) or -1, max_runtime (s) if its slot is
-- taken or 0, their eno], and with messages also [.., database, key, argument of the first].
-- Returns rows that the runner holds, runs of them [due, offset, lane, cause, lease end, expires or -1, their eno], and for each run
-- that came with messages: which of them were not pushed, and what the server said against it.
local runner, until_us = tonumber(ARGV[2]), tonumber(ARGV[6])
local is_open = tonumber(ARGV[3]) == rev and rev > 0 and believes()
local is_same = call('HGET', META, 'pver') == ARGV[5]
local may_push = is_same and now <= until_us
local held, held_runs, answers = {}, {}, {}
own = tonumber(ARGV[7])

local function moved(gid, version, after, till, next_due)
  if not is_open or till < after or till * SECOND > now then return false end
  if call('HGET', K .. 'groups', gid) ~= string.format('%d %d', after, version) then return false end
  call('HSET', K .. 'groups', gid, string.format('%d %d', till, version))
  if next_due then call('ZADD', K .. 'due', next_due, gid) else call('ZREM', K .. 'due', gid) end
  return true
end

local function raise_last(due, enos)
  local kept, flat = call('HMGET', K .. 'last', unpack(enos)), {}
  for position, eno in ipairs(enos) do
    local last = kept[position]
    if not last or tonumber(last) < due then flat[#flat + 1], flat[#flat + 2] = eno, due end
  end
  if #flat > 0 then call('HSET', K .. 'last', unpack(flat)) end
end

-- What a new row says, packed, but for its task. `save` says the same of a row by itself.
local function packed(state, due, offset, lane, cause, reason, command, expires)
  local v = {state, reason, cause, lane, 0, offset, rev, 0, now - due * SECOND}
  if state == CLAIMED then
    v[ATTEMPT], v[10], v[11], v[12], v[OWNER], v[COMMAND] = 1, false, false, false, runner, command
    if expires >= 0 then v[TASK], v[NOTE], v[EXIT], v[EXPIRES_AT] = false, false, false, now + expires * SECOND end
  end
  return cmsgpack.pack(v)
end
local function packed_sent(due, offset, cause, task)
  local at = now - due * SECOND
  return cmsgpack.pack({DISPATCHED, 1, cause, 0, 1, offset, rev, rev, at, at, false, false, false, 0, task})
end

-- Rows that are alike and take no slot, written together. Returns which were not pushed, and why.
local function write_alike(due, offset, lane, cause, reason, command, expires, enos, database, name, first)
  local hour = math.floor(due / 3600)
  local tail, rows, fields, new = ':' .. (due - hour * 3600), K .. 'h:' .. hour, {}, {}
  for position, eno in ipairs(enos) do fields[position] = eno .. tail end
  local known, left = call('HMGET', rows, unpack(fields)), {}
  for position = 1, #enos do
    if known[position] then left[#left + 1] = enos[position] else new[#new + 1] = position end
  end
  if #new == 0 then return left, '' end

  local send, state, words = (due + offset) * SECOND, PENDING, ''
  if reason ~= 1 then state = SKIPPED elseif send <= now and lane == 0 then state = CLAIMED end
  if state == CLAIMED and name and may_push then
    local texts = {}
    for number, position in ipairs(new) do texts[number] = ARGV[first + 2 * position - 1] end
    words = pushed(database, name, unpack(texts))
    if words == '' then state = DISPATCHED end
  end
  local flat, ids, mine = {}, {}, {}
  if state == DISPATCHED then
    local before = string.sub(packed_sent(due, offset, cause, '0123456789abcdef'), 1, -17)
    for number, position in ipairs(new) do
      local task = ARGV[first + 2 * position - 2]
      flat[2 * number - 1] = fields[position]
      flat[2 * number] = #task == 16 and before .. task or packed_sent(due, offset, cause, task)
    end
  else
    local value = packed(state, due, offset, lane, cause, reason, command, expires)
    local score, at = state == CLAIMED and now + LEASE or send, ':' .. due
    for number, position in ipairs(new) do
      mine[number] = enos[position]
      flat[2 * number - 1], flat[2 * number] = fields[position], value
      ids[2 * number - 1], ids[2 * number] = score, enos[position] .. at
    end
    if name then
      left = enos
    end
  end
  call('HSET', rows, unpack(flat))
  if state == CLAIMED then
    call('ZADD', K .. 'leases', unpack(ids))
    held_runs[#held_runs + 1] = {due, offset, lane, cause, now + LEASE, expires >= 0 and now + expires * SECOND or -1, mine}
  elseif state == PENDING then
    call('ZADD', K .. 'unsent', unpack(ids))
    call('ZADD', K .. 'lane:' .. lane, unpack(ids))
  end
  is_new(hour, #new)
  return left, words
end

-- A row by itself: its entry has a slot, or its definition has changed since the runner read it. Returns whether it was pushed.
local function write(eno, due, offset, lane, cause, reason, database, name, task, text)
  local row, words = blank(string.format('%d:%d', eno, due), cause, offset), ''
  if call('HEXISTS', K .. 'h:' .. row.hour, row.field) == 1 then return false, '' end
  row.v[LANE], row.v[REASON] = lane, reason
  if reason ~= 1 then
    row.v[STATE] = SKIPPED
    save(row)
  elseif send_at(row) > now or lane ~= 0 then
    save(row, send_at(row))
  elseif take_slot(row) then
    give(row, runner)
    if name and may_push then
      words = pushed(database, name, text)
      if words == '' then
        sent(row, task)
        return true, ''
      end
    end
    save(row, now + LEASE)
    held[#held + 1] = told(row, now + LEASE)
  end
  return false, words
end

local function write_run(run)
  local due, offset, lane, cause, reason, command, expires, seconds, enos, database, name, first = unpack(run, 1, 12)
  raise_last(due, enos)
  if is_same and seconds == 0 then
    return write_alike(due, offset, lane, cause, reason, command, expires, enos, database, name, first)
  end
  local left, words = {}, ''
  for position, eno in ipairs(enos) do
    local at = first and first + 2 * position - 2
    local was_pushed, why = write(eno, due, offset, lane, cause, reason, database, name, at and ARGV[at], at and ARGV[at + 1])
    if why ~= '' then words = why end
    if not was_pushed then left[#left + 1] = eno end
  end
  return left, words
end

-- The window was recorded before, perhaps by this very message: then what it pushed is told again.
-- at: when this runner recorded it, nil when it did not; what was sent at another instant is somebody else's.
local function look_again(run, at)
  local due, enos, name, left = run[1], run[9], run[11], {}
  for _, eno in ipairs(enos) do
    local row = find(string.format('%d:%d', eno, due))
    local v = row and row.v
    if held_by(row, runner) then held[#held + 1] = told(row) end
    local is_out = v and v[ATTEMPT] == 1 and v[STATE] >= DISPATCHED and v[STATE] ~= SKIPPED
    if not (name and is_out and instant(row, RECORDED_AT) == at and instant(row, DISPATCHED_AT) == at) then
      left[#left + 1] = eno
    end
  end
  return left, ''
end

for _, window in ipairs(cjson.decode(ARGV[4])) do
  local gid, version, after, till, next_due, runs, gaps = unpack(window)
  local name, is_moved = string.format('%d %d %.0f', after, till, runner), moved(gid, version, after, till, null(next_due))
  local by = not is_moved and call('HGET', K .. 'by', gid)
  local at = by and string.sub(by, 1, #name + 1) == name .. ' ' and tonumber(string.sub(by, #name + 2)) or nil
  if is_moved then
    for _, gap in ipairs(gaps) do
      local id = call('HINCRBY', META, 'next_gap', 1)
      call('ZADD', K .. 'gaps', gap[3], string.format('%d %d %d %d %.0f %s %d %s', gid, gap[1], gap[2], gap[3], now, gap[4], id, gap[5]))
    end
  end
  local has_messages, steps = false, 1
  for _, run in ipairs(runs) do
    local left, words
    if is_moved then left, words = write_run(run) else left, words = look_again(run, at) end
    if run[11] then
      answers[#answers + 1] = {words, left}
      has_messages, steps = true, steps + #run[9] - #left
    end
  end
  if is_moved then raise_marks(steps) end
  if is_moved and has_messages then call('HSET', K .. 'by', gid, string.format('%s %.0f', name, now)) end
end
return head(held, held_runs, answers)
