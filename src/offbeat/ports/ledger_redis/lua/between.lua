-- How many rows of the schedule entries have in stretches of due times. ARGV: 2 hour and 3 place in it to go on with ("" and "0": at
-- the begin), 4... eno, first and last of each stretch. Looks at some thousands of rows at most. Changes nothing.
-- Returns the counts of this page, and the hour and the place to go on with; the hour is "" when that was all.
local cursor, seen, MOST = ARGV[3], 0, 4000
local counts, mine, low, high = {}, {}, math.huge, -math.huge
for at = 4, #ARGV, 3 do
  local stretch = {tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), #counts + 1}
  counts[#counts + 1] = 0
  mine[ARGV[at]] = mine[ARGV[at]] or {}
  table.insert(mine[ARGV[at]], stretch)
  low, high = math.min(low, stretch[1]), math.max(high, stretch[2])
end
local begin = ARGV[2] ~= '' and ARGV[2] or string.format('%.0f', math.floor(low / 3600))
local pattern = next(mine, next(mine)) == nil and next(mine) .. ':*' or '*'

local function look(field, hour)
  local eno, second = string.match(field, '^(%d+):(%d+)$')
  if not eno or not mine[eno] then return end
  local due = hour * 3600 + tonumber(second)
  for _, stretch in ipairs(mine[eno]) do
    if stretch[1] <= due and due <= stretch[2] then counts[stretch[3]] = counts[stretch[3]] + 1 end
  end
end

local hours = call('ZRANGEBYSCORE', K .. 'hours', begin, string.format('%.0f', math.floor(high / 3600)), 'LIMIT', 0, 1000)
for position, hour in ipairs(hours) do
  local name = K .. 'h:' .. hour
  local size = call('HLEN', name)
  repeat
    local page = call('HSCAN', name, cursor, 'MATCH', pattern, 'COUNT', 500)
    cursor = page[1]
    seen = seen + math.min(size, 500)
    for at = 1, #page[2], 2 do look(page[2][at], tonumber(hour)) end
    if cursor ~= '0' and seen >= MOST then return head(counts, hour, cursor) end
  until cursor == '0'
  if seen >= MOST and hours[position + 1] then return head(counts, hours[position + 1], '0') end
end
if #hours == 1000 then return head(counts, string.format('%d', tonumber(hours[1000]) + 1), '0') end
return head(counts, '', '0')
