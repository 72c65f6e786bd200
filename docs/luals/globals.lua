---@meta
-- luacheck: ignore

-- What the moonlatch program defines globally, for LuaLS (https://luals.github.io).

---@type moonlatch.Process
process = nil

---@type Console
console = nil

---@type fun(message?: any, options?: { cause: any }): Error
Error = nil

---@type fun(message?: any, options?: { cause: any }): TypeError
TypeError = nil

---@type fun(message?: any, options?: { cause: any }): RangeError
RangeError = nil

---@type fun(): AbortController
AbortController = nil

---@type moonlatch.Class
AbortSignal = nil

---Calls `callback(...)` once, `ms` milliseconds from now at the earliest.
---@param callback function
---@param ms? number
---@param ... any
---@return Timeout
function setTimeout(callback, ms, ...) end

---@param timer any
function clearTimeout(timer) end

---Calls `callback(...)` every `ms` milliseconds.
---@param callback function
---@param ms? number
---@param ... any
---@return Timeout
function setInterval(callback, ms, ...) end

---@param timer any
function clearInterval(timer) end

---Calls `callback(...)` after the I/O of this turn of the loop.
---@param callback function
---@param ... any
---@return Immediate
function setImmediate(callback, ...) end

---@param immediate any
function clearImmediate(immediate) end

---@param callback fun()
function queueMicrotask(callback) end
