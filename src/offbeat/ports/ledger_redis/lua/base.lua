-- What every script begins with. KEYS[1]: what our keys begin with. ARGV[1]: "slot of the marks:microseconds since the epoch",
-- nothing after the colon for the server's clock; "" where nothing is marked.
-- Instants are whole microseconds, due times whole seconds. A row is a packed array; schema.py says what is where.
local K = KEYS[1]
local META = K .. 'meta'
local call = redis.call
local now
local SLOT, horizon = string.match(ARGV[1], '^(%d*):?(%d*)$')
if horizon == '' then
  local time = call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
else
  now = tonumber(horizon)
end
local SECOND, LEASE, LONGEST_WAIT, STEP = 1000000, 10000000, 300000000, 3600000000
local PENDING, WAITING, CLAIMED, UNDELIVERED, DISPATCHED, STARTED, RETRYING = 1, 2, 3, 4, 5, 6, 7
local SUCCEEDED, FAILED, REVOKED, SKIPPED = 8, 9, 10, 11
local STATES = {'pending', 'waiting', 'claimed', 'undelivered', 'dispatched', 'started', 'retrying', 'succeeded', 'failed',
  'revoked', 'skipped'}
local REASONS = {'', 'coalesced', 'missed', 'too_late', 'removed', 'disabled', 'paused', 'overlap', 'by_hand', 'restored',
  'exit_status', 'timed_out', 'runner_died', 'not_started', 'refused'}
local CAUSES = {'schedule', 'catch_up', 'manual', 'backfill'}
local CODE = {}
for _, words in ipairs({STATES, REASONS, CAUSES}) do
  for code, word in ipairs(words) do
    if words ~= CAUSES then CODE[word] = code else CODE['cause ' .. word] = code end
  end
end
local OVERLAP, RUNNER_DIED = CODE['overlap'], CODE['runner_died']
local STATE, REASON, CAUSE, LANE, ATTEMPT, OFFSET, RECORDED_REV, REV = 1, 2, 3, 4, 5, 6, 7, 8
local RECORDED_AT, DISPATCHED_AT, STARTED_AT, FINISHED_AT, OWNER, COMMAND, TASK, NOTE = 9, 10, 11, 12, 13, 14, 15, 16
local EXIT, EXPIRES_AT, WAITED, OWN_CALL, TRIED_AT, FIELDS = 17, 18, 19, 20, 21, 21
local rev = tonumber(call('HGET', META, 'rev') or '0')

local function null(value)
  if value == nil or value == cjson.null then return false end
  return value
end

local function place(id)
  local eno, due, rest = string.match(id, '^(%d+):(%-?%d+)(.*)$')
  local hour = math.floor(tonumber(due) / 3600)
  return tonumber(eno), tonumber(due), hour, string.format('%s:%d%s', eno, tonumber(due) - hour * 3600, rest)
end

local function find(id)
  local eno, due, hour, field = place(id)
  local packed = call('HGET', K .. 'h:' .. hour, field)
  if not packed then return nil end
  local v = cmsgpack.unpack(packed)
  for position = #v + 1, FIELDS do v[position] = false end
  return {id = id, eno = eno, due = due, hour = hour, field = field, v = v, was = v[STATE], lane = v[LANE], kept = packed}
end

local function blank(id, cause, offset)
  local eno, due, hour, field = place(id)
  local v = {PENDING, 1, cause, 0, 0, offset, rev, 0, now - due * SECOND}
  for position = 10, FIELDS do v[position] = false end
  v[COMMAND] = 0
  return {id = id, eno = eno, due = due, hour = hour, field = field, v = v, was = 0, lane = 0}
end

local function instant(row, position)
  local value = row.v[position]
  return value and value + row.due * SECOND
end

local function stamp(row, position)
  row.v[position] = now - row.due * SECOND
end

local function send_at(row)
  return (row.due + row.v[OFFSET]) * SECOND
end

local function is_live(command, state)
  return command == 1 and state >= DISPATCHED and state <= RETRYING
end

-- What history finds by an index of its own: failed, revoked, undelivered.
local function is_trouble(state)
  return state == FAILED or state == REVOKED or state == UNDELIVERED
end

local function leave(row)
  if row.was <= WAITING then call('ZREM', K .. 'unsent', row.id) end
  if row.was == PENDING then
    call('ZREM', K .. 'lane:' .. row.lane, row.id)
    call('ZREM', K .. 'back', row.id)
  elseif row.was == WAITING then
    call('ZREM', K .. 'wait', row.id)
    if call('HGET', K .. 'queued', row.eno) == row.id then call('HDEL', K .. 'queued', row.eno) end
  elseif row.was == CLAIMED then
    call('ZREM', K .. 'leases', row.id)
  elseif row.was == FAILED then
    call('ZREM', K .. 'failed', row.id)
  elseif row.was == UNDELIVERED then
    call('HINCRBY', META, 'undelivered', -1)
  end
  if is_trouble(row.was) then call('ZREM', K .. 'trouble', row.id) end
end

local hours_known, ages_known, new_rows = {}, {}, 0
-- Count new rows of an hour; those of a backfill are as old as their record, not as their due time.
local function is_new(hour, count, is_filled)
  if not hours_known[hour] then
    call('ZADD', K .. 'hours', hour, hour)
    hours_known[hour] = true
  end
  if not is_filled and not ages_known[hour] then
    call('ZADD', K .. 'ages', hour, hour)
    ages_known[hour] = true
  end
  new_rows = new_rows + count
end

local function packed_row(v)
  local last = math.max(#v, FIELDS)  -- what a newer program has added stays
  while last > 9 and v[last] == false do last = last - 1 end
  local kept = {}
  for position = 1, last do kept[position] = v[position] end
  return cmsgpack.pack(kept)
end

-- Write a row and all indexes that follow from its state. at: of next try, lease end, or of what it waits for.
local function save(row, at)
  local v, state = row.v, row.v[STATE]
  if row.was == 0 then
    local is_filled = string.find(row.id, '^%d+:%-?%d+:b:')
    if is_filled then call('ZADD', K .. 'filled', now, row.id) end
    is_new(row.hour, 1, is_filled)
  else
    leave(row)
  end
  if state <= WAITING then call('ZADD', K .. 'unsent', send_at(row), row.id) end
  if state == PENDING then
    call('ZADD', K .. 'lane:' .. v[LANE], at, row.id)
    if at > send_at(row) then call('ZADD', K .. 'back', at, row.id) end
  elseif state == WAITING then
    call('ZADD', K .. 'wait', at, row.id)
    call('HSET', K .. 'queued', row.eno, row.id)
  elseif state == CLAIMED then
    call('ZADD', K .. 'leases', at, row.id)
  elseif state == FAILED then
    call('ZADD', K .. 'failed', instant(row, FINISHED_AT) or now, row.id)
  elseif state == UNDELIVERED then
    call('HINCRBY', META, 'undelivered', 1)
  end
  if is_trouble(state) then call('ZADD', K .. 'trouble', row.due, row.id) end
  if is_live(v[COMMAND], state) then
    call('SADD', K .. 'live', row.id)
  elseif v[COMMAND] == 1 and row.was ~= 0 then
    call('SREM', K .. 'live', row.id)
  end
  if state > CLAIMED then v[TRIED_AT] = false end
  if state > CLAIMED and v[OWN_CALL] then
    call('HDEL', K .. 'calls', row.id)
    v[OWN_CALL] = false
  end
  call('HSET', K .. 'h:' .. row.hour, row.field, packed_row(v))
  row.was, row.lane = state, v[LANE]
end

local function believes()
  local newest = call('HGET', META, 'newest')
  return not newest or now <= tonumber(newest) + STEP
end

-- Let the marks rise: what a restored ledger is known by (core/marks.py).
local function raise_marks(by)
  call('HINCRBY', K .. 'marks', SLOT, by or 1)
end

local definitions = {}
-- What the entry says now: queue, expires (s), command (0 or 1), overlap, max_runtime (s); nil when it is removed.
local function definition(eno)
  if definitions[eno] == nil then
    local text = call('HGET', K .. 'defs', eno)
    local d = text and cjson.decode(text)
    definitions[eno] = d and {queue = d[1], expires = null(d[2]), command = d[3], overlap = d[4], runs = null(d[5])} or false
  end
  return definitions[eno] or nil
end

-- What is sent for the row: like `definition`, of its own call where it has one.
local function binding(row)
  if not row.v[OWN_CALL] then return definition(row.eno) end
  local d = cjson.decode(call('HGET', K .. 'calls', row.id))
  return {queue = d[1], expires = null(d[2]), command = d[3], overlap = 'allow', text = d[4]}
end

-- Slots of entries (overlap), as core.slots.judge_slot decides. A value is "until/for how long id".
local SET_BACK = 60000000
local function slot_of(eno)
  local text = call('HGET', K .. 'slots', eno)
  if not text then return nil end
  local till, length, id = string.match(text, '^(%d+)/?(%d*) (.*)$')
  return tonumber(till), id, tonumber(length)
end

-- For how many microseconds the row takes its entry's slot, 0 when it takes none.
local overlaps = tonumber(call('HGET', META, 'overlaps') or '0')  -- entries whose policy is not "allow"
local function slot_time(row)
  if overlaps == 0 then return 0 end
  local d = definition(row.eno)
  if not d or d.overlap == 'allow' or string.match(row.id, '^%d+:%-?%d+:m:') then return 0 end
  return (d.runs or 0) * SECOND
end

-- When a slot is free again, taken for `length` (nil: not kept); a longer max_runtime counts for what has it, a shorter one not.
local function slot_end(till, length, time)
  return till + math.max(0, time - (length or time))
end

local function is_held(till, length, time)
  return time > 0 and now < slot_end(till, length, time) and till <= now + (length or time) + SET_BACK
end

-- Let the row have the slot for `time` from now; what it has already is never made shorter. Returns until when.
local function seize_slot(row, time)
  local till, holder, length = slot_of(row.eno)
  if holder == row.id and is_held(till, length, time) and till > now + time then return till end
  call('HSET', K .. 'slots', row.eno, string.format('%.0f/%.0f %s', now + time, time, row.id))
  return now + time
end

-- Whether the slot that a waiting row waits for is another's still.
local function still_waits(row)
  local till, holder, length = slot_of(row.eno)
  return holder ~= nil and is_held(till, length, slot_time(row))
end

local function waiting_of(eno)
  local id = call('HGET', K .. 'queued', eno)
  return id and find(id)
end

-- Hold the slot until max_runtime from now, unless another occurrence has it; what waits waits as long.
local function keep_slot(row)
  local time = slot_time(row)
  if time == 0 then return end
  local till, holder, length = slot_of(row.eno)
  if holder and holder ~= row.id and is_held(till, length, time) then return end
  local held_until = seize_slot(row, time)
  local waiting = call('HGET', K .. 'queued', row.eno)
  if waiting then call('ZADD', K .. 'wait', 'XX', held_until, waiting) end
end

-- Free the entry's slot if this row has it; what waits is to be claimed now.
local function free_slot(row)
  if overlaps == 0 and call('EXISTS', K .. 'slots') == 0 then return end
  local _, holder = slot_of(row.eno)
  if holder ~= row.id then return end
  call('HDEL', K .. 'slots', row.eno)
  local waiting = waiting_of(row.eno)
  if waiting then call('ZADD', K .. 'wait', 'XX', math.max(now, send_at(waiting)), waiting.id) end
end

local function overlapped(row)
  row.v[STATE], row.v[REASON] = SKIPPED, OVERLAP
  save(row)
end

-- Take the slot for a row that is about to be claimed; false when another has it, and then the row is skipped, or waits.
local function take_slot(row)
  local time = slot_time(row)
  if time == 0 then return true end
  local till, holder, length = slot_of(row.eno)
  local waiting = holder ~= row.id and waiting_of(row.eno)
  if not holder or holder == row.id or not is_held(till, length, time) then
    seize_slot(row, time)
    if waiting and waiting.id ~= row.id and waiting.due <= row.due then overlapped(waiting) end
    return true
  end
  if definition(row.eno).overlap == 'skip' or (waiting and waiting.due > row.due) then
    overlapped(row)
    return false
  end
  if waiting and waiting.id ~= row.id then overlapped(waiting) end
  row.v[STATE], row.v[OWNER], row.v[WAITED] = WAITING, false, 1
  save(row, slot_end(till, length, time))
  return false
end

-- Give the row to a runner: a new attempt. It is not saved yet.
local function give(row, runner)
  local v, d = row.v, binding(row)
  v[STATE], v[OWNER], v[ATTEMPT] = CLAIMED, runner, v[ATTEMPT] + 1
  if d then
    v[COMMAND] = d.command
    if not v[EXPIRES_AT] and d.expires then v[EXPIRES_AT] = now + d.expires * SECOND end
  end
end

-- Give the row to a runner, with a new lease; false when its slot is taken.
local function hold(row, runner)
  if not take_slot(row) then return false end
  if row.was == PENDING then
    local at = tonumber(call('ZSCORE', K .. 'lane:' .. row.lane, row.id))
    row.v[TRIED_AT] = at ~= send_at(row) and at
  end
  give(row, runner)
  save(row, now + LEASE)
  return true
end

-- The broker has the row's message.
local function sent(row, task)
  local v = row.v
  v[STATE], v[REASON], v[REV], v[NOTE], v[OWNER], v[TASK] = DISPATCHED, 1, rev, false, false, task ~= '' and task or false
  stamp(row, DISPATCHED_AT)
  save(row)
  keep_slot(row)
end

local function told(row, lease)
  local v, own = row.v, ''
  if v[OWN_CALL] then own = binding(row).text end
  lease = lease or tonumber(call('ZSCORE', K .. 'leases', row.id) or '0')
  return {row.id, v[OFFSET], v[LANE], v[CAUSE], v[ATTEMPT], lease,
    v[EXPIRES_AT] or -1, v[NOTE] or '', v[WAITED] and 1 or 0, own}
end

local function held_by(row, runner)
  if not row or row.v[STATE] ~= CLAIMED or row.v[OWNER] ~= runner then return false end
  return tonumber(call('ZSCORE', K .. 'leases', row.id) or '0') > now
end

local function beat(runner, details)
  call('ZADD', K .. 'seen', now, runner)
  call('HSET', K .. 'runners', runner, details)
end

-- The reason of the gap that a due time of an entry fell into, nil without.
local function covering(eno, due)
  local text = call('HGET', K .. 'spans', eno)
  if not text then return nil end
  local mine = {}
  for _, span in ipairs(cjson.decode(text)) do
    if span[2] <= due and (not null(span[3]) or due <= span[3]) then mine[span[1]] = true end
  end
  if next(mine) == nil then return nil end
  for _, gap in ipairs(call('ZRANGEBYSCORE', K .. 'gaps', due, '+inf')) do
    local gid, whose, after, _, _, reason = string.match(gap, '^(%d+) (%d+) (%-?%d+) (%-?%d+) (%d+) (%S+)')
    if mine[tonumber(gid)] and tonumber(after) < due and (whose == '0' or tonumber(whose) == eno) then return reason end
  end
  return nil
end

-- A row for people. v: as it was unpacked.
local function shown(id, due, v, next_try)
  local function at(position)
    return v[position] and v[position] + due * SECOND or -1
  end
  return {id, v[STATE], v[REASON], v[CAUSE], v[ATTEMPT], v[OFFSET], v[TASK] or '', v[NOTE] or '', v[EXIT] or '',
    at(RECORDED_AT), at(DISPATCHED_AT), at(STARTED_AT), at(FINISHED_AT), next_try}
end

-- How a row stands: id, state, reason, when it was dispatched, and the claim if there is one.
local function standing(row, claim)
  return {row.id, row.v[STATE], row.v[REASON], instant(row, DISPATCHED_AT) or -1, claim or false}
end

-- What is at the head of each reply: now, the program's version, the active revision, our own mark.
local function head(...)
  if new_rows ~= 0 then call('HINCRBY', META, 'rows', new_rows) end
  return {{now, tonumber(call('HGET', META, 'pver') or '0'), rev, tonumber(call('HGET', K .. 'marks', SLOT) or '0')}, ...}
end
