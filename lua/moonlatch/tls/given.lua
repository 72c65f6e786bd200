--- Whether an option or an answer is there: as in Node, false and nil both mean that it is not.
---@param value any
---@return boolean
return function(value)
  return value ~= nil and value ~= false
end
