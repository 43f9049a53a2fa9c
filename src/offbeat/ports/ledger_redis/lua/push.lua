-- Into the broker's queues, which are on this server. Before it is used: own, the database of our keys.
local own
local function said(answer)
  return (string.gsub(answer.err or 'the server refused it', '%s+', ' '))
end
local function in_database(database, ...)
  if database ~= own then
    local selected = redis.pcall('SELECT', database)
    if selected.err then return selected end
  end
  local answer = redis.pcall(...)
  if database ~= own then call('SELECT', own) end
  return answer
end

local lists = {}
-- Push texts in their order, all of them or none. Returns "" or why not. Whatever may fail is asked first.
local function pushed(database, name, ...)
  if not lists[database .. ':' .. name] then
    local kind = in_database(database, 'TYPE', name)
    if kind.err then return said(kind) end
    if kind.ok ~= 'list' and kind.ok ~= 'none' then return 'the queue\'s key is of the type ' .. kind.ok end
  end
  local answer = in_database(database, 'LPUSH', name, ...)
  if type(answer) ~= 'number' then return said(answer) end
  lists[database .. ':' .. name] = true
  return ''
end
