-- Whoever runs what was sent tells of it. ARGV: 2 the runner's tag, 3 its JSON, 4 the reports as JSON, 5... their outputs.
-- A report: [id, attempt, state, reason, note, exit status or null, number of its output or 0, 1 when this very attempt was
-- admitted: then it counts although the row may be at a later one]. Returns 1 or 0 for each.
local runner = tonumber(ARGV[2])
beat(runner, ARGV[3])
-- [held][state][mine or not] as core.transitions.judge_report says: K kept, R refused, W written; a test compares them.
-- One word a held state, and one for failed(runner_died) as the twelfth; two letters a state: not mine, mine.
local VERDICTS = 
  'RKRRWWWWWWWWWWWWWWWWWW' ..
  'RRRKWWWWWWWWWWWWWWWWWW' ..
  'RRRRRKWWWWWWWWWWWWWWWW' ..
  'RRRRRRRKRRWWWWWWWWWWRR' ..
  'RRRRRRRRWWWWWWWWWWWWRR' ..
  'RRRRRRRRRRRKWWWWWWWWRR' ..
  'RRRRRRRRRRWWRKWWWWWWRR' ..
  'RRRRRRRRRRRRRRRKRRRRRR' ..
  'RRRRRRRRRRRRRRRRRKRRRR' ..
  'RRRRRRRRRRRRRRRRRRRKRR' ..
  'RRRRRRRRRRRRRRRRRRRRRK' ..
  'RRRRRRRRRRRRRRWWWWWWRR'
local answers = {}
for _, told_us in ipairs(cjson.decode(ARGV[4])) do
  local row, accepted = find(told_us[1]), 0
  local attempt = told_us[2]
  if row and attempt > 0 and (row.v[ATTEMPT] == attempt or (told_us[8] == 1 and attempt < row.v[ATTEMPT])) then
    local v, state = row.v, CODE[told_us[3]]
    local held = v[STATE]
    if held == FAILED and v[REASON] == RUNNER_DIED then held = 12 end
    local at = (held - 1) * 22 + (state - 1) * 2 + (v[OWNER] == runner and 2 or 1)
    local verdict = string.sub(VERDICTS, at, at)
    if verdict ~= 'R' then accepted = 1 end
    if verdict == 'W' then
      v[STATE], v[REASON], v[OWNER] = state, CODE[told_us[4]], runner
      if told_us[5] ~= '' then v[NOTE] = told_us[5] end
      if state == DISPATCHED then
        if not v[DISPATCHED_AT] then stamp(row, DISPATCHED_AT) end
      elseif state < SUCCEEDED then
        if not v[STARTED_AT] then stamp(row, STARTED_AT) end
      else
        stamp(row, FINISHED_AT)
        v[EXIT] = null(told_us[6])
      end
      if told_us[7] > 0 then call('HSET', K .. 'o:' .. row.hour, row.field, ARGV[4 + told_us[7]]) end
      save(row)
      if state >= SUCCEEDED then free_slot(row) else keep_slot(row) end
    end
  end
  answers[#answers + 1] = accepted
end
return head(answers)
