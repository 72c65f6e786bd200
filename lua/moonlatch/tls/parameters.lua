--- How many arguments a callback of the script's has a place for: some callbacks get more in newer forms, and do
--- something else according to what they declare.
local getinfo, getmetatable, type = debug.getinfo, debug.getmetatable, type

--- What a function declares; a callable table's first parameter is the table itself and does not count.
---@param callable any
---@return integer count
---@return boolean vararg  it ends in `...`, or is no Lua function
return function(callable)
  local selves = 0
  while type(callable) ~= 'function' do
    local metatable = getmetatable(callable)
    callable, selves = metatable and metatable.__call, selves + 1
    if callable == nil then
      return 0, true
    end
  end
  local info = getinfo(callable, 'u')
  return math.max(info.nparams - selves, 0), info.isvararg
end
