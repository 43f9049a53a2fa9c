-- Remove what is too old or too many. ARGV: 2 how many at most, 3 seconds to keep, 4 seconds kept behind everything undecided,
-- 5 rows to keep, 6 bytes to keep (-1: no limit). Returns how many rows and gaps went.
local limit, most, bytes = tonumber(ARGV[2]), tonumber(ARGV[5]), tonumber(ARGV[6])
if not believes() then return head(0) end
local today = math.floor(now / SECOND)
local soonest = call('ZRANGE', K .. 'due', 0, 0, 'WITHSCORES')[2]
local decided = (soonest and math.min(today, tonumber(soonest) - 1) or today) - tonumber(ARGV[4])
local old = math.min(today - tonumber(ARGV[3]), decided)
local function raise(through)
  local before = tonumber(call('HGET', META, 'through') or '')
  if not before or before < through then call('HSET', META, 'through', through) end
end
raise(old)

local names = {'unsent', 'leases'}
local unsettled = 0
for _, name in ipairs(names) do unsettled = unsettled + call('ZCARD', K .. name) end
local settled = tonumber(call('HGET', META, 'rows') or '0') - unsettled

local function weight(name)
  return call('MEMORY', 'USAGE', K .. name, 'SAMPLES', 5) or 0
end
-- How many settled rows are too many, by count or by size.
local excess = most >= 0 and math.max(0, settled - most) or 0
if bytes >= 0 and settled > 0 then
  local history, rest = 0, 0
  for _, hour in ipairs(call('ZRANGE', K .. 'hours', 0, -1)) do
    history = history + weight('h:' .. hour) + weight('o:' .. hour)
  end
  for _, name in ipairs({'gaps', 'failed', 'trouble', 'fired', 'book', 'revs', 'schedules', 'unsent', 'leases', 'last', 'seen', 'runners'}) do
    rest = rest + weight(name)
  end
  local over = history + rest - bytes
  if over > 0 then excess = math.max(excess, math.min(settled, math.ceil(over * settled / history))) end
end

local gone = 0
local function forget(row)
  call('HDEL', K .. 'h:' .. row.hour, row.field)
  call('HDEL', K .. 'o:' .. row.hour, row.field)
  call('HINCRBY', META, 'rows', -1)
  if row.v[COMMAND] == 1 then call('SREM', K .. 'live', row.id) end
  if row.v[STATE] == FAILED then call('ZREM', K .. 'failed', row.id) end
  if is_trouble(row.v[STATE]) then call('ZREM', K .. 'trouble', row.id) end
  if row.v[STATE] == UNDELIVERED then call('HINCRBY', META, 'undelivered', -1) end
  local token = string.match(row.id, '^%d+:%-?%d+:m:(.*)$')
  if token then call('HDEL', K .. 'fired', row.eno .. ':' .. token) end
  call('ZREM', K .. 'filled', row.id)
  if call('HLEN', K .. 'h:' .. row.hour) == 0 then
    call('ZREM', K .. 'hours', row.hour)
    call('ZREM', K .. 'ages', row.hour)
  end
  gone = gone + 1
end

-- Let a settled row go if it is its turn; false when it, and all that are younger, stay.
local function take_away(id, age)
  if gone == limit or age > decided or (age > old and gone >= excess) then return false end
  local row = find(id)
  if row and row.v[STATE] > CLAIMED then
    raise(math.floor(age))
    forget(row)
  end
  return true
end

-- What was backfilled is kept from when it was recorded: its due times may be old already.
local last = string.format('%.0f', (decided + 1) * SECOND)
local filled, next_filled = call('ZRANGEBYSCORE', K .. 'filled', '-inf', last, 'WITHSCORES', 'LIMIT', 0, limit + 500), 1
local function filled_before(age)
  while filled[next_filled] do
    local mine = tonumber(filled[next_filled + 1]) / SECOND
    if mine > age or not take_away(filled[next_filled], mine) then return end
    next_filled = next_filled + 2
  end
end

local function fields_of(name)
  if call('HLEN', name) <= 2000 then return call('HKEYS', name) end
  local found, cursor = {}, '0'
  repeat
    local page = call('HSCAN', name, cursor, 'COUNT', 500)
    cursor = page[1]
    for position = 1, #page[2], 2 do found[#found + 1] = page[2][position] end
  until cursor == '0' or #found >= 2000
  return found
end

local oldest_hour = math.floor((excess > 0 and decided or old) / 3600)
local going_on = true
for _, hour in ipairs(call('ZRANGEBYSCORE', K .. 'ages', '-inf', oldest_hour, 'LIMIT', 0, 200)) do
  local rows = {}
  for _, field in ipairs(fields_of(K .. 'h:' .. hour)) do
    local eno, second, rest = string.match(field, '^(%d+):(%d+)(.*)$')
    if string.sub(rest, 1, 3) ~= ':b:' then
      rows[#rows + 1] = {tonumber(hour) * 3600 + tonumber(second), tonumber(eno), rest}
    end
  end
  if #rows == 0 then call('ZREM', K .. 'ages', hour) end
  table.sort(rows, function(one, other)
    if one[1] ~= other[1] then return one[1] < other[1] end
    if one[2] ~= other[2] then return one[2] < other[2] end
    return one[3] < other[3]
  end)
  for _, at in ipairs(rows) do
    filled_before(at[1])
    going_on = take_away(string.format('%d:%d%s', at[2], at[1], at[3]), at[1])
    if not going_on then break end
  end
  if not going_on then break end
end
if going_on then filled_before(decided) end
if gone < limit then
  local gaps = call('ZRANGEBYSCORE', K .. 'gaps', '-inf', old, 'LIMIT', 0, limit - gone)
  for _, gap in ipairs(gaps) do call('ZREM', K .. 'gaps', gap) end
  gone = gone + #gaps
end
local pauses = call('HGETALL', K .. 'pauses')
for position = 1, #pauses, 2 do
  local till = tonumber(string.match(pauses[position + 1], '^%d+ %d+ (%d+)') or '')
  if till and till <= old * SECOND then
    call('HDEL', K .. 'pauses', pauses[position])
    call('HINCRBY', META, 'pver', 1)
  end
end
-- Runners that were not seen for a day, unless a command is theirs.
local owners = {}
for _, id in ipairs(call('SMEMBERS', K .. 'live')) do
  local row = find(id)
  if row then owners[string.format('%.0f', row.v[OWNER] or 0)] = true end
end
local day = string.format('%.0f', now - 86400 * SECOND)
for _, runner in ipairs(call('ZRANGEBYSCORE', K .. 'seen', '-inf', day, 'LIMIT', 0, 500)) do
  if not owners[runner] then
    call('ZREM', K .. 'seen', runner)
    call('HDEL', K .. 'runners', runner)
  end
end
return head(gone)
