-- A page of rows, newest hour first. ARGV: 2 newest hour, 3 oldest hour, 4 eno or "", 5 where in the newest hour to go on ("0":
-- at its begin), 6 how many rows are enough. Changes nothing.
-- Returns the rows, the hour and the place to go on with; the hour is "" when that was all.
local newest, oldest, eno, cursor, enough = ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local rows = {}

local function line(field, hour, packed)
  local whose, second, rest = string.match(field, '^(%d+):(%d+)(.*)$')
  local id = string.format('%s:%d%s', whose, hour * 3600 + tonumber(second), rest)
  local row = find(id)
  local v = row.v
  local next_try = v[STATE] == PENDING and tonumber(call('ZSCORE', K .. 'lane:' .. v[LANE], id)) or -1
  rows[#rows + 1] = {id, v[STATE], v[REASON], v[CAUSE], v[ATTEMPT], v[OFFSET], v[TASK] or '', v[NOTE] or '', v[EXIT] or '',
    instant(row, RECORDED_AT) or -1, instant(row, DISPATCHED_AT) or -1, instant(row, STARTED_AT) or -1,
    instant(row, FINISHED_AT) or -1, next_try}
end

local function wanted(field)
  return eno == '' or string.match(field, '^%d+') == eno
end

local hours = call('ZREVRANGEBYSCORE', K .. 'hours', newest, oldest, 'LIMIT', 0, 500)
for position, hour in ipairs(hours) do
  local name = K .. 'h:' .. hour
  if cursor == '0' and call('HLEN', name) <= 1000 then
    for _, field in ipairs(call('HKEYS', name)) do
      if wanted(field) then line(field, tonumber(hour)) end
    end
  else
    repeat
      local page = call('HSCAN', name, cursor, 'COUNT', 500)
      cursor = page[1]
      for at = 1, #page[2], 2 do
        if wanted(page[2][at]) then line(page[2][at], tonumber(hour)) end
      end
      if cursor ~= '0' and #rows >= enough then return head(rows, hour, cursor) end
    until cursor == '0'
  end
  if #rows >= enough and hours[position + 1] then return head(rows, hours[position + 1], '0') end
end
if #hours == 500 then return head(rows, string.format('%d', tonumber(hours[500]) - 1), '0') end
return head(rows, '', '0')
