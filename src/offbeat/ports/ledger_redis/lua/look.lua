-- Heartbeat, and when to wake. ARGV: 2 the runner's tag, 3 its JSON. Returns what an Outlook is made of.
beat(tonumber(ARGV[2]), ARGV[3])
local SECOND_LOOK, HEARTBEAT = 5000000, 60000000
local kept = call('HMGET', META, 'newest', 'suspect', 'stamp', 'deployed', 'born')
local newest, suspect = tonumber(kept[1] or ''), tonumber(kept[2] or '')
-- core.transitions.look_at_clock
if not newest or now <= newest + STEP then
  newest, suspect = math.max(now, newest or now), nil
elseif not suspect or now < suspect then
  suspect = now
elseif now - suspect >= SECOND_LOOK then
  newest, suspect = now, nil
end
call('HSET', META, 'newest', newest)
if suspect then call('HSET', META, 'suspect', suspect) else call('HDEL', META, 'suspect') end
local believed = now <= newest + STEP

if believed then
  local checked = 0
  for _, id in ipairs(call('SMEMBERS', K .. 'live')) do
    local row = find(id)
    if not row or not is_live(row.v[COMMAND], row.v[STATE]) then
      call('SREM', K .. 'live', id)
    else
      local seen = tonumber(call('ZSCORE', K .. 'seen', row.v[OWNER] or 0) or '0')
      local alive = math.max(seen, instant(row, DISPATCHED_AT) or 0, instant(row, STARTED_AT) or 0)
      if now - alive > HEARTBEAT then
        row.v[STATE], row.v[REASON] = FAILED, RUNNER_DIED
        stamp(row, FINISHED_AT)
        save(row)
        checked = checked + 1
        if checked == 500 then break end
      end
    end
  end
end

local wake
local function soonest(instant_us)
  if instant_us and (not wake or instant_us < wake) then wake = instant_us end
end
local function first(name)
  return tonumber(call('ZRANGE', K .. name, 0, 0, 'WITHSCORES')[2] or '')
end
local due = first('due')
soonest(due and due * SECOND)
for _, name in ipairs({'lane:0', 'lane:1', 'lane:2', 'leases', 'wait'}) do soonest(first(name)) end
-- What was kept in a wrong future is to be looked at now.
for name, far in pairs({back = LONGEST_WAIT, leases = 2 * LEASE, wait = 0}) do
  for _, id in ipairs(call('ZRANGEBYSCORE', K .. name, '(' .. string.format('%.0f', now + far), '+inf', 'LIMIT', 0, 500)) do
    local row = find(id)
    local wrong = row and send_at(row) <= now
    if wrong and name == 'wait' then wrong = not still_waits(row) end
    if wrong then
      soonest(now)
      break
    end
  end
end
local failed = first('failed') and tonumber(call('ZREVRANGE', K .. 'failed', 0, 0, 'WITHSCORES')[2]) or 0
return head(kept[3] or '', wake or -1, believed and 1 or 0, suspect or -1, newest, failed, tonumber(kept[4] or '0'),
  call('HGETALL', K .. 'marks'), kept[5] or '')
