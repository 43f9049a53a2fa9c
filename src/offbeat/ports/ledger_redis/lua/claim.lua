-- Hand out rows that have come, lane by lane. ARGV: 2 the runner's tag (0: only look), 3 how many, 4 queues that are closed as
-- JSON, 5 how many of each lane were looked at before. Returns the rows, 1 when a closed queue hid others further on, and how
-- many others were skipped, or wait, because of an overlap.
local runner, limit, skip = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[5])
if not believes() then return head({}, 0, 0) end
local PAGE = 1000
local closed, more = {}, 0
for _, queue in ipairs(cjson.decode(ARGV[4])) do closed[queue] = true end

local function is_open(row)
  if next(closed) == nil then return true end
  local d = binding(row)
  return not closed[d and d.queue or '']  -- the empty one is that of commands
end

local lanes = {{}, {}, {}}
local function offer(row, at)
  if row and is_open(row) then table.insert(lanes[row.v[LANE] + 1], {row, at}) end
end

for lane = 0, 2 do
  local page = call('ZRANGEBYSCORE', K .. 'lane:' .. lane, '-inf', now, 'WITHSCORES', 'LIMIT', skip, math.max(limit, PAGE))
  for position = 1, #page, 2 do
    offer(find(page[position]), tonumber(page[position + 1]))
    if #lanes[lane + 1] >= limit then break end
  end
  if #lanes[lane + 1] < limit and #page >= 2 * math.max(limit, PAGE) then more = 1 end
end
local function beyond(name, far)
  return call('ZRANGEBYSCORE', K .. name, '(' .. string.format('%.0f', now + far), '+inf', 'LIMIT', 0, limit)
end
local function until_now(name)
  return call('ZRANGEBYSCORE', K .. name, '-inf', now, 'LIMIT', 0, math.max(limit, PAGE))
end
if skip == 0 then
  for _, id in ipairs(beyond('back', LONGEST_WAIT)) do
    local row = find(id)
    if row and send_at(row) <= now then offer(row, tonumber(call('ZSCORE', K .. 'back', id))) end
  end
  for _, id in ipairs(until_now('leases')) do
    local row = find(id)
    if row then offer(row, row.v[TRIED_AT] or send_at(row)) end
  end
  for _, id in ipairs(beyond('leases', 2 * LEASE)) do
    local row = find(id)
    if row and send_at(row) <= now then offer(row, row.v[TRIED_AT] or send_at(row)) end
  end
  for _, id in ipairs(until_now('wait')) do
    local row = find(id)
    if row then offer(row, tonumber(call('ZSCORE', K .. 'wait', id))) end
  end
  for _, id in ipairs(beyond('wait', 0)) do
    local row = find(id)
    if row and send_at(row) <= now and not still_waits(row) then
      offer(row, tonumber(call('ZSCORE', K .. 'wait', id)))
    end
  end
end
local function rank(row)  -- as keys are ordered: backfill, manual, schedule
  local rest = string.match(row.id, '^%d+:%-?%d+(.*)$')
  return rest == '' and '~' or rest
end
local function sooner(one, other)
  if one[2] ~= other[2] then return one[2] < other[2] end
  if one[1].eno ~= other[1].eno then return one[1].eno < other[1].eno end
  if one[1].due ~= other[1].due then return one[1].due < other[1].due end
  return rank(one[1]) < rank(other[1])
end
for _, lane in ipairs(lanes) do table.sort(lane, sooner) end

-- core.transitions.shares
local given, left = {0, 0, 0}, limit
local function give(lane, wanted)
  local add = math.min(math.max(wanted - given[lane], 0), left)
  given[lane], left = given[lane] + add, left - add
end
give(1, math.min(#lanes[1], 1))
for lane = 2, 3 do give(lane, math.min(#lanes[lane], math.max(1, math.floor(limit / 10)))) end
for lane = 1, 3 do give(lane, #lanes[lane]) end

-- What a pause holds of a backfill is looked at again later, as core.recheck.held_back says.
local HELD_BACK, pauses = 300, nil
local function is_paused(eno)
  pauses = pauses or call('HVALS', K .. 'pauses')
  for _, pause in ipairs(pauses) do
    local whose, from, till, once = string.match(pause, '^(%d+) (%-?%d+) (%S+) (%d)')
    local is_ours = once == '0' and (whose == '0' or tonumber(whose) == eno)
    if is_ours and tonumber(from) <= now and (till == '-' or now < tonumber(till)) then return true end
  end
  return false
end
local function hold_back(row)
  if not string.find(row.id, '^%d+:%-?%d+:b:') or not is_paused(row.eno) then return false end
  row.v[STATE], row.v[OWNER] = PENDING, false
  row.v[OFFSET] = row.v[OFFSET] + HELD_BACK * (math.floor((now - send_at(row)) / (HELD_BACK * SECOND)) + 1)
  save(row, send_at(row))
  return true
end

local found, others = {}, 0
for lane = 1, 3 do
  for position = 1, given[lane] do
    local row = lanes[lane][position][1]
    if runner == 0 then
      found[#found + 1] = told(row)
    else
      row = find(row.id)  -- a row before it in this very batch may have changed it
      if row.v[STATE] > CLAIMED or hold_back(row) then
        others = others + 1
      elseif hold(row, runner) then
        found[#found + 1] = told(row, now + LEASE)
      else
        others = others + 1
      end
    end
  end
end
if runner ~= 0 and #found + others > 0 then raise_marks(#found + others) end
return head(found, more, others)
