-- How many late rows of some entries wait to be sent. ARGV: 2... their numbers. Changes nothing. Returns a count for each; where
-- more wait than are gone through, all have too many.
local MOST = 50000
local counts, answers = {}, {}
for position = 2, #ARGV do counts[ARGV[position]] = 0 end
local crowded = call('ZCARD', K .. 'lane:1') > MOST
for _, id in ipairs(crowded and {} or call('ZRANGE', K .. 'lane:1', 0, -1)) do
  local eno = string.match(id, '^(%d+):%-?%d+$')
  if eno and counts[eno] then counts[eno] = counts[eno] + 1 end
end
for position = 2, #ARGV do answers[#answers + 1] = crowded and MOST or counts[ARGV[position]] end
return head(answers)
