-- Set back what was decided after an instant. ARGV: 2 that due time, 3 JSON {pver, cursors: {gid: "cursor version"} as read,
-- due: {gid: next due or false}, hashes: {name: {field: text}}}: what else changes, 4 who. Returns 1, or 0 when something was in between.
local to, plan = tonumber(ARGV[2]), cjson.decode(ARGV[3])
if call('HGET', META, 'pver') ~= plan.pver then return head(0) end
for gid, kept in pairs(plan.cursors) do
  if call('HGET', K .. 'groups', gid) ~= kept then return head(0) end
end
for gid, due in pairs(plan.due) do
  if due then call('ZADD', K .. 'due', due, gid) else call('ZREM', K .. 'due', gid) end
end
for name, fields in pairs(plan.hashes) do
  for field, text in pairs(fields) do call('HSET', K .. name, field, text) end
end
for _, hour in ipairs(call('ZRANGEBYSCORE', K .. 'hours', math.floor(to / 3600), '+inf')) do
  for _, field in ipairs(call('HKEYS', K .. 'h:' .. hour)) do
    local eno, second = string.match(field, '^(%d+):(%d+)$')
    local due = eno and tonumber(hour) * 3600 + tonumber(second)
    if due and due > to then
      local row = find(string.format('%s:%d', eno, due))
      if row.v[ATTEMPT] == 0 then
        leave(row)
        call('HDEL', K .. 'h:' .. hour, field)
        call('HINCRBY', META, 'rows', -1)
      end
    end
  end
  if call('HLEN', K .. 'h:' .. hour) == 0 then
    call('ZREM', K .. 'hours', hour)
    call('ZREM', K .. 'ages', hour)
  end
end
for _, gap in ipairs(call('ZRANGEBYSCORE', K .. 'gaps', '(' .. string.format('%d', to), '+inf')) do
  call('ZREM', K .. 'gaps', gap)
  local gid, eno, after, rest = string.match(gap, '^(%d+) (%d+) (%-?%d+) %-?%d+ (.*)$')
  if tonumber(after) < to then call('ZADD', K .. 'gaps', to, string.format('%s %s %s %d %s', gid, eno, after, to, rest)) end
end
local last = call('HGETALL', K .. 'last')
for position = 1, #last, 2 do
  local eno, due = tonumber(last[position]), tonumber(last[position + 1])
  if due > to then call('HSET', K .. 'last', eno, to) end
end
local through = tonumber(call('HGET', META, 'through') or '')
if through and through > to then call('HSET', META, 'through', to) end
call('HSET', META, 'newest', now, 'rewound_at', now, 'rewound_to', to, 'rewound_by', ARGV[4])
call('HDEL', META, 'suspect')
call('HINCRBY', META, 'pver', 1)
raise_marks()
return head(1)
