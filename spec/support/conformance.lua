--- Runs a table of cases, each a guarantee of Node's streams, over every transport that it applies to.
---
--- A case is { name, function(t), on = …, options = … }. `on` says where it applies: 'ends' (two ends), 'native'
--- (sockets), 'through' (a PassThrough), everywhere when left out; `options` are those of both ends.
local spec = require 'moonlatch.spec'
local timers = require 'timers'
local process = require 'process'
local transports = require 'spec.support.transports'

local M = {}

-- Turns of the loop after which nothing more is to be expected of loopback.
local TURNS = 8

---@class spec.Case
---@field a Duplex      what is written to it …
---@field b Duplex      … comes out of this one; the same object for a PassThrough
---@field await function
---@field expect function
---@field transport spec.Transport
local Case = {}
Case.__index = Case

local function watch(self, stream)
  if self.closes[stream] then
    return
  end
  self.closes[stream] = 0
  self.opened[#self.opened + 1] = stream
  stream:on('close', function()
    self.closes[stream] = self.closes[stream] + 1
    if self.waiting[stream] then
      self.waiting[stream]()
    end
  end)
end

local function opened(self, a, b)
  watch(self, a)
  watch(self, b)
  return a, b
end

--- Another pair of ends of the same kind.
---@return Duplex, Duplex
function Case:open(options)
  return opened(self, self.transport.open(self.await, options or {}))
end

--- A pair of ends to pipe into.
---@return Duplex, Duplex
function Case:into(options)
  return opened(self, (self.transport.into or self.transport.open)(self.await, options or {}))
end

--- Suspends until the ticks that are queued now have run.
function Case:tick()
  self.await(function(done)
    process.nextTick(done)
  end)
end

--- Suspends until what has been done so far has had its consequences.
function Case:settle()
  for _ = 1, TURNS do
    self.await(function(done)
      timers.setImmediate(done)
    end)
  end
end

-- 'data' once for all that comes in a row, since a transport may cut it anywhere.
local function appendData(list, label, chunk)
  local last = list[#list]
  if last and last:sub(1, #label + 1) == label .. ' ' then
    list[#list] = last .. chunk
  else
    list[#list + 1] = label .. ' ' .. chunk
  end
end

--- Notes the events of `stream` as they come: 'end', 'close' …, 'data abc', 'error CODE' (or its message).
---@param stream table
---@param events string[]
---@param prefix? string
---@param list? string[]  to add to
---@return string[]
function Case:log(stream, events, prefix, list)
  list = list or {}
  for _, event in ipairs(events) do
    local label = (prefix or '') .. event
    stream:on(event, function(value)
      if event == 'data' then
        appendData(list, label, value)
      elseif event == 'error' then
        list[#list + 1] = label .. ' ' .. (value.code or value.message)
      else
        list[#list + 1] = label
      end
    end)
  end
  return list
end

--- All that comes out of `stream` until its end.
---@return string
function Case:all(stream)
  local parts = {}
  stream:on('data', function(chunk)
    parts[#parts + 1] = chunk
  end)
  stream:resume()
  if not stream.readableEnded then
    self.await(stream, 'end')
  end
  return table.concat(parts)
end

--- Suspends until all of these ends have emitted 'close'.
function Case:closed(...)
  for _, stream in ipairs { ... } do
    if self.closes[stream] == 0 then
      self.await(function(done)
        self.waiting[stream] = done
      end)
    end
  end
end

--- Suspends until `condition()` holds, looked at once per turn of the loop.
function Case:untilTrue(condition)
  while not condition() do
    self.await(function(done)
      timers.setImmediate(done)
    end)
  end
end

local function nop() end

--- What goes wrong with `stream` is not the subject.
function Case.ignore(_, stream)
  stream:on('error', nop)
end

--- The messages of errors that nothing caught, from now to the end of the case.
---@return string[]
function Case:uncaught()
  local caught = {}
  local function onUncaught(err)
    caught[#caught + 1] = err.message or tostring(err)
  end
  process:on('uncaughtException', onUncaught)
  self.cleanups[#self.cleanups + 1] = function()
    process:removeListener('uncaughtException', onUncaught)
  end
  return caught
end

local made = ''

--- Bytes that do not repeat soon, so that a lost or doubled piece shows.
---@param size integer
---@return string
function M.pattern(size)
  if #made < size then
    local parts, x = {}, 1
    for i = 1, math.ceil(size / 8) do
      x = (x * 16807) % 2147483647
      parts[i] = ('%08x'):format(x)
    end
    made = table.concat(parts)
  end
  return made:sub(1, size)
end

-- What the case has left open is not its subject, but each end closes once in any case.
local function putAway(t)
  for _, cleanup in ipairs(t.cleanups) do
    cleanup()
  end
  for _, stream in ipairs(t.opened) do
    t:ignore(stream)
    stream:destroy()
  end
end

local function checkCloses(t)
  t:closed(unpack(t.opened))
  t:settle()
  for _, stream in ipairs(t.opened) do
    if t.closes[stream] ~= 1 then
      error(("%s emitted 'close' %d times"):format(tostring(stream), t.closes[stream]), 0)
    end
  end
end

local function applies(case, transport)
  local on = case.on
  return on == nil
    or on == 'ends' and transport.ends == 2
    or on == 'native' and transport.native
    or on == 'through' and transport.ends == 1
end

-- Like `await`, but the case goes on in a tick: what it raises must not end in the stream that was just calling.
local function inTick(await)
  local function nextTick(done)
    process.nextTick(done)
  end
  local function after(...)
    await(nextTick)
    return ...
  end
  return function(...)
    return after(await(...))
  end
end

--- Runs fn(t) with two ends of `transport`, then puts them away.
---@param transport spec.Transport
---@param options? table
---@param fn fun(t: spec.Case)
---@return function  for `it`
function M.test(transport, options, fn)
  return spec.coroutine(function(await, expect)
    local t = setmetatable({
      await = inTick(await), expect = expect, transport = transport, opened = {}, closes = {}, waiting = {},
      cleanups = {},
    }, Case)
    t.a, t.b = t:open(options)
    local ok, err = xpcall(fn, function(err)
      return type(err) == 'string' and debug.traceback(err, 2) or err
    end, t)
    putAway(t)
    if not ok then
      error(err, 0)
    end
    checkCloses(t)
  end)
end

--- Registers groups of cases with busted, over each transport.
---@param busted { describe: function, it: function }
---@param subject string
---@param groups table[][]
---@param over? spec.Transport[]  all by default
function M.run(busted, subject, groups, over)
  for _, transport in ipairs(over or transports.all) do
    busted.describe(('%s over %s'):format(subject, transport.name), function()
      for _, group in ipairs(groups) do
        for _, case in ipairs(group) do
          if applies(case, transport) then
            busted.it(case[1], M.test(transport, case.options, case[2]))
          end
        end
      end
    end)
  end
end

return M
