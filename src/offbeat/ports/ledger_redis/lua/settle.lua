-- What became of claims. ARGV: 2 the outcomes as JSON, 3 the database of our keys, 4... payloads to push.
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
local answers, changed = {}, 0

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
-- Push, then mark. Whatever may fail is asked first, so that a row is marked if and only if its message is in the queue.
local function push(row, outcome)
  local v = row and row.v
  if not row or v[ATTEMPT] ~= outcome[2] then return 'FENCED' end
  if v[STATE] >= DISPATCHED and v[STATE] ~= SKIPPED then return '' end
  if v[STATE] ~= CLAIMED or tonumber(call('ZSCORE', K .. 'leases', row.id) or '0') <= now then return 'FENCED' end
  local words = pushed(outcome[9], outcome[10], ARGV[3 + outcome[11]])
  if words ~= '' then return words end
  settle(row, outcome)
  return ''
end

for position, outcome in ipairs(cjson.decode(ARGV[2])) do
  local row = find(outcome[1])
  if outcome[9] then answers[position] = push(row, outcome) else answers[position] = settle(row, outcome) and 1 or 0 end
end
if changed > 0 then raise_seq(changed) end
return head(answers)
