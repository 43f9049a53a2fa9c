-- One attempt of an occurrence may start. KEYS[2]: K .. 'a:' .. occurrence. ARGV: 2 attempt, 3 seconds to remember. 1 or 0.
call('SET', KEYS[2], ARGV[2], 'NX', 'EX', ARGV[3])
return head(call('GET', KEYS[2]) == ARGV[2] and 1 or 0)
