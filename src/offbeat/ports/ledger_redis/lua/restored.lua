-- The ledger went back to an older state. ARGV: 2 JSON {slot: mark} as they were seen, 3 "1" to skip, 4 JSON {cursors: {gid:
-- "cursor version"} as read, groups: {gid: next due or false}, until, pver}, 5 who. Returns 1, 0 when none of its own is lower, -1 when
-- something was written in between, -2 while the clock is not believed.
local plan, behind = cjson.decode(ARGV[4]), {}
for slot, seen in pairs(cjson.decode(ARGV[2])) do
  if tonumber(call('HGET', K .. 'marks', slot) or '0') < seen then behind[slot] = seen end
end
if not next(behind) then return head(0) end
if ARGV[3] == '1' then
  if not believes() then return head(-2) end
  if call('HGET', META, 'pver') ~= plan.pver then return head(-1) end
  for gid, kept in pairs(plan.cursors) do
    if call('HGET', K .. 'groups', gid) ~= kept then return head(-1) end
  end
  local RESTORED, today = CODE['restored'], plan['until']
  for _, name in ipairs({'lane:0', 'lane:1', 'lane:2', 'wait', 'leases'}) do
    for _, id in ipairs(call('ZRANGE', K .. name, 0, -1)) do
      local row = find(id)
      if send_at(row) <= today * SECOND then
        row.v[STATE], row.v[REASON], row.v[OWNER] = SKIPPED, RESTORED, false
        save(row)
        local _, holder = slot_of(row.eno)
        if holder == row.id then call('HDEL', K .. 'slots', row.eno) end
      end
    end
  end
  for gid, due in pairs(plan.groups) do
    local cursor, version = string.match(plan.cursors[gid], '^(%-?%d+) (%d+)$')
    if tonumber(cursor) < today then
      local soonest = tonumber(call('ZSCORE', K .. 'due', gid) or '')
      if soonest and soonest <= today then
        local number = call('HINCRBY', META, 'next_gap', 1)
        local gap = string.format('%s 0 %s %d %.0f restored %d %s', gid, cursor, today, now, number, ARGV[5])
        call('ZADD', K .. 'gaps', today, gap)
        if due then call('ZADD', K .. 'due', due, gid) else call('ZREM', K .. 'due', gid) end
      end
      call('HSET', K .. 'groups', gid, string.format('%d %s', today, version))
    end
  end
end
for slot, seen in pairs(behind) do call('HSET', K .. 'marks', slot, seen) end
call('HSET', META, 'restored', now)
raise_marks()
return head(1)
