-- Open the ledger, made anew where there is none. ARGV: 2 project, 3 owner, 4 a new name for it, 5 our schema, 6 the oldest
-- schema that can still use it then, 7 "1" to write nothing, 8 the first schema that can be brought to ours. Returns its schema and
-- the oldest that it allows; 0 without one.
local schema = tonumber(call('HGET', META, 'schema') or '0')
local oldest = tonumber(call('HGET', META, 'oldest') or '0')
local ours = tonumber(ARGV[5])
if ARGV[7] == '1' or schema >= ours or (schema > 0 and schema < tonumber(ARGV[8])) then return head(schema, oldest) end
if schema == 0 then
  call('HSET', META, 'project', ARGV[2], 'owner', ARGV[3], 'born', ARGV[4], 'pver', 1, 'rev', 0)
end
-- Steps from one schema to the next go here, each: if schema < n then ... end. A step that was released is never changed.
call('HSET', META, 'schema', ours, 'oldest', ARGV[6])
return head(ours, tonumber(ARGV[6]))
