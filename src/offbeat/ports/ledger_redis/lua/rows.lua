-- A page of rows, newest hour first. ARGV: 2 newest hour, 3 the due time before which none is wanted, 4 eno or "", 5 where in the
-- newest hour to go on ("0": at its begin), 6 how many rows are enough, 7 the states that are wanted, as "," .. numbers with a
-- comma behind each, or "" for all. Looks at some thousands of rows at most, however few of them are wanted. Changes nothing.
-- Returns the rows, the hour and the place to go on with; the hour is "" when that was all.
local newest, since, eno, cursor, enough, states = ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5], tonumber(ARGV[6]), ARGV[7]
local MOST, HOURS = 4000, 200
local pattern = eno == '' and '*' or eno .. ':*'
local rows, seen = {}, 0

local function look(field, hour, packed)
  local whose, second, rest = string.match(field, '^(%d+):(%d+)(.*)$')
  local due = hour * 3600 + tonumber(second)
  if due < since then return end
  local v = cmsgpack.unpack(packed)
  if states ~= '' and not string.find(states, ',' .. v[STATE] .. ',', 1, true) then return end
  local id = string.format('%s:%d%s', whose, due, rest)
  local next_try = v[STATE] == PENDING and tonumber(call('ZSCORE', K .. 'lane:' .. v[LANE], id)) or -1
  rows[#rows + 1] = shown(id, due, v, next_try)
end

local hours = call('ZREVRANGEBYSCORE', K .. 'hours', newest, math.floor(since / 3600), 'LIMIT', 0, HOURS)
for position, hour in ipairs(hours) do
  local name = K .. 'h:' .. hour
  local size = call('HLEN', name)
  repeat
    local page = call('HSCAN', name, cursor, 'MATCH', pattern, 'COUNT', 500)
    cursor = page[1]
    seen = seen + math.min(size, 500)
    for at = 1, #page[2], 2 do look(page[2][at], tonumber(hour), page[2][at + 1]) end
    if cursor ~= '0' and (#rows >= enough or seen >= MOST) then return head(rows, hour, cursor) end
  until cursor == '0'
  if (#rows >= enough or seen >= MOST) and hours[position + 1] then return head(rows, hours[position + 1], '0') end
end
if #hours == HOURS then return head(rows, string.format('%d', tonumber(hours[HOURS]) - 1), '0') end
return head(rows, '', '0')
