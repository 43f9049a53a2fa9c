-- One occurrence by its due time: to be sent now, or skipped. ARGV: 2 the runner's tag, 3 the entry's name, 4 its due time,
-- 5 "slot" or "skip", 6 for a skip: who and why, 7 the same as JSON. Returns how it stands, "" for an unknown entry.
local runner, due, is_skip = tonumber(ARGV[2]), tonumber(ARGV[4]), ARGV[5] == 'skip'
local eno = tonumber(call('HGET', K .. 'names', ARGV[3]) or '')
if not (eno and definition(eno)) then return head('') end
local PUNCTUAL, BY_HAND = 90, CODE['by_hand']
local id = string.format('%d:%d', eno, due)
local row = find(id)

local function skip()
  row = row or blank(id, CODE['cause schedule'], 0)
  row.v[STATE], row.v[REASON], row.v[NOTE] = SKIPPED, BY_HAND, ARGV[6]
  save(row)
  local pause = call('HINCRBY', META, 'next_pause', 1)
  call('HSET', K .. 'pauses', pause, string.format('%d %.0f %.0f 1 %s', eno, due * SECOND, (due + 1) * SECOND, ARGV[7]))
  call('HINCRBY', META, 'pver', 1)
  raise_marks()
end

if row then
  if is_skip and row.v[STATE] <= WAITING then skip() end
  return head(standing(row, held_by(row, runner) and told(row)))
end
-- Whether a version of the entry has the due time to decide.
local function was_in_force()
  for _, span in ipairs(cjson.decode(call('HGET', K .. 'spans', eno) or '[]')) do
    if span[2] <= due and (not null(span[3]) or due <= span[3]) then return true end
  end
  return false
end

if is_skip and due * SECOND <= now and not was_in_force() then return head({id, SKIPPED, 1, -1, false}) end
local reason = covering(eno, due)
if reason then return head({id, SKIPPED, CODE[reason], -1, false}) end
local last = call('HGET', K .. 'last', eno)
if last and due <= tonumber(last) then return head({id, DISPATCHED, 1, -1, false}) end
if is_skip then
  skip()
  return head(standing(row))
end
local offset = math.min(due, math.floor(now / SECOND)) - due
call('HSET', K .. 'last', eno, due)
row = blank(id, CODE[now - due * SECOND > PUNCTUAL * SECOND and 'cause catch_up' or 'cause schedule'], offset)
local claimed = hold(row, runner)
raise_marks()
return head(standing(row, claimed and told(row)))
