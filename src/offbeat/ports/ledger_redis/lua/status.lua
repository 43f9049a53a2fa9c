-- One summary. Changes nothing.
local kept = call('HMGET', META, 'project', 'owner', 'schema', 'digest', 'activated', 'problems', 'whole', 'newest', 'undelivered',
  'deployed', 'restored', 'rewound_at', 'rewound_to', 'rewound_by')
local facts = {}
for position = 1, 14 do facts[position] = kept[position] or '' end
local due = call('ZRANGE', K .. 'due', 0, 0, 'WITHSCORES')[2]
local oldest = call('ZRANGEBYSCORE', K .. 'unsent', '-inf', now, 'WITHSCORES', 'LIMIT', 0, 1)[2]
local runners = {}
for _, runner in ipairs(call('ZREVRANGEBYSCORE', K .. 'seen', '+inf', '(' .. string.format('%.0f', now - 86400 * SECOND), 'LIMIT', 0, 1000)) do
  runners[#runners + 1] = {call('HGET', K .. 'runners', runner) or '', call('ZSCORE', K .. 'seen', runner)}
end
local pending = 0
for lane = 0, 2 do pending = pending + call('ZCARD', K .. 'lane:' .. lane) end
return head(facts, due or '', pending, call('ZCARD', K .. 'leases'), call('ZCARD', K .. 'wait'), oldest or '', runners)
