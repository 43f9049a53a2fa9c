-- What became of claims. ARGV: 2 the outcomes as JSON, 3 the database of our keys, 4 the runner's tag, 5... payloads to push.
-- An outcome: [id, attempt, state, reason, error, next try, lane, task] and for a push also [.., database, key, payload's number].
-- Returns for each 1 or 0, and of a push "" or why it was not pushed.
-- [held][state][rest the same or not][command or not] as core.transitions.judge_outcome says; a test compares them: one word a
-- held state; in it, for pending, undelivered, dispatched and skipped, four letters: other task, other command, same task, same
-- command. K kept, R refused, S stamped, W written.
local VERDICTS = 
  'RRKKWWWWWWWWWWWW' ..
  'RRRRWWWWWWWWWWWW' ..
  'WWWWWWWWWWWWWWWW' ..
  'RRRRRRKKRRRRRRRR' ..
  'RRRRRRRRRRKKRWRW' ..
  'RRRRRRRRSSSSRRRR' ..
  'RRRRRRRRSSSSRRRR' ..
  'RRRRRRRRSSSSRRRR' ..
  'RRRRRRRRSSSSRRRR' ..
  'RRRRRRRRSSSSRRRR' ..
  'RRRRRRRRRRRRRRKK'
local SETTLES = {[PENDING] = 0, [UNDELIVERED] = 4, [DISPATCHED] = 8, [SKIPPED] = 12}
local answers, changed, runner = {}, 0, tonumber(ARGV[4])

local function is_same(row, outcome)
  local v = row.v
  if CODE[outcome[3]] ~= PENDING then return v[REASON] == CODE[outcome[4]] end
  local at = tonumber(call('ZSCORE', K .. 'lane:' .. v[LANE], row.id) or '-1')
  return at == math.max(outcome[6], send_at(row)) and v[LANE] == outcome[7]
end

local function write(row, outcome)
  local v, state = row.v, CODE[outcome[3]]
  v[STATE], v[NOTE] = state, outcome[5] ~= '' and outcome[5] or false
  if state == PENDING then
    v[LANE], v[OWNER] = outcome[7], false
    save(row, math.max(outcome[6], send_at(row)))
    free_slot(row)
    return
  end
  v[REASON], v[REV], v[DISPATCHED_AT], v[TASK] = CODE[outcome[4]], rev, false, false
  if v[COMMAND] ~= 1 then v[OWNER] = false end
  if state == DISPATCHED then
    stamp(row, DISPATCHED_AT)
    v[TASK] = outcome[8] ~= '' and outcome[8] or false
  end
  save(row)
  if state == DISPATCHED then keep_slot(row) else free_slot(row) end
end

local function settle(row, outcome)
  if not row or row.v[ATTEMPT] ~= outcome[2] or outcome[2] == 0 then return false end
  local v = row.v
  local state = CODE[outcome[3]]
  local may_others = state == DISPATCHED or (state == SKIPPED and v[COMMAND] == 1)
  if v[STATE] == CLAIMED and v[OWNER] ~= runner and not may_others then return false end
  local at = (v[STATE] - 1) * 16 + SETTLES[CODE[outcome[3]]] + (is_same(row, outcome) and 2 or 0) + (v[COMMAND] == 1 and 2 or 1)
  local verdict = string.sub(VERDICTS, at, at)
  if verdict == 'W' then
    write(row, outcome)
    changed = changed + 1
  elseif verdict == 'S' then
    if not v[DISPATCHED_AT] then stamp(row, DISPATCHED_AT) end
    if outcome[8] ~= '' then v[TASK] = outcome[8] end
    save(row)
    changed = changed + 1
  end
  return verdict ~= 'R'
end

own = tonumber(ARGV[3])
-- Why a row is not to be pushed: "" when its message is out already; nil when it is.
local function judge(row, outcome)
  local v = row and row.v
  if not row or v[ATTEMPT] ~= outcome[2] then return 'FENCED' end
  if v[STATE] >= DISPATCHED and v[STATE] ~= SKIPPED then return '' end
  if v[STATE] ~= CLAIMED or tonumber(call('ZSCORE', K .. 'leases', row.id) or '0') <= now then return 'FENCED' end
end

-- Mark what was pushed: together what has no slot and nothing of its own to tidy up.
local function mark(run)
  local hours, ended = {}, {}
  for _, each in ipairs(run) do
    local row, v, task = each[2], each[2].v, each[3][8]
    if slot_time(row) == 0 and v[COMMAND] ~= 1 and not v[OWN_CALL] then
      v[STATE], v[REASON], v[REV], v[NOTE], v[OWNER], v[TRIED_AT] = DISPATCHED, 1, rev, false, false, false
      v[DISPATCHED_AT], v[TASK] = now - row.due * SECOND, task ~= '' and task or false
      local flat = hours[row.hour] or {}
      hours[row.hour] = flat
      flat[#flat + 1], flat[#flat + 2] = row.field, packed_row(v)
      ended[#ended + 1] = row.id
      changed = changed + 1
    else
      settle(row, each[3])
    end
  end
  for hour, flat in pairs(hours) do call('HSET', K .. 'h:' .. hour, unpack(flat)) end
  if #ended > 0 then call('ZREM', K .. 'leases', unpack(ended)) end
end

-- Push, then mark. Whatever may fail is asked first, so that a row is marked if and only if its message is in the queue.
local function push(run)
  local texts = {}
  for number, each in ipairs(run) do texts[number] = ARGV[4 + each[3][11]] end
  local words = pushed(run[1][3][9], run[1][3][10], unpack(texts))
  for _, each in ipairs(run) do answers[each[1]] = words end
  if words == '' then mark(run) end
end

local runs, by_queue, seen, later = {}, {}, {}, {}
for position, outcome in ipairs(cjson.decode(ARGV[2])) do
  local id = outcome[1]
  if not outcome[9] then
    answers[position] = settle(find(id), outcome) and 1 or 0
  elseif seen[id] then
    later[#later + 1] = {position, outcome}
  else
    seen[id] = true
    local row, queue = find(id), outcome[9] .. ':' .. outcome[10]
    answers[position] = judge(row, outcome)
    if not answers[position] then
      if not by_queue[queue] then
        by_queue[queue] = {}
        runs[#runs + 1] = by_queue[queue]
      end
      table.insert(by_queue[queue], {position, row, outcome})
    end
  end
end
for _, run in ipairs(runs) do push(run) end
for _, each in ipairs(later) do  -- the same row again
  local position, outcome = unpack(each)
  local row = find(outcome[1])
  answers[position] = judge(row, outcome)
  if not answers[position] then push({{position, row, outcome}}) end
end
if changed > 0 then raise_marks(changed) end
return head(answers)
