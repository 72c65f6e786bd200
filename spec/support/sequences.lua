--- Random sequences of what a script can do to streams, and what must hold all along: no byte is lost, repeated or
--- changed, events come in their order and none after 'close', which comes once.
local errors = require 'moonlatch.errors'
local tape = require 'spec.support.tape'
local timers = require 'timers'

local M = {}

-- Turns of the loop without anything happening after which nothing is going to happen.
local QUIET = 300

-- A generator of its own: the same everywhere, for each seed. random(n) gives 1 … n.
local function generator(seed)
  local x = (seed * 7919 + 12345) % 2147483647
  return function(n)
    x = (x * 48271) % 2147483647
    return math.floor(x / 65536) % n + 1
  end
end

-- One direction of bytes.
local function newFlow()
  return { sent = 0, got = 0 }
end

---@class spec.Sequence
local Sequence = {}
Sequence.__index = Sequence

function Sequence:fail(format, ...)
  if not self.failure then
    self.failure = format:format(...)
  end
end

function Sequence:note(format, ...)
  self.steps[#self.steps + 1] = format:format(...)
end

-- One end, with what it was told and has told.
---@class spec.End
---@field name string
---@field stream Duplex
---@field out? table   the flow that is written to it
---@field into? table  the flow that is to come out of it
---@field seen table<string, integer>

local EVENTS = { 'end', 'finish', 'error', 'close' }
-- Mostly not listened to: a native pipe is not for streams of which somebody wants to hear that.
local PACE = { 'drain', 'pause', 'resume' }
local ONCE = { ['end'] = true, finish = true, error = true, close = true }
local ANY_TIME = { pause = true, resume = true } -- calls of the script, not news

function Sequence:happened(side, event)
  self.progress = self.progress + 1
  local seen = side.seen
  if seen.close and not ANY_TIME[event] then
    self:fail("%s: '%s' after 'close'", side.name, event)
  end
  seen[event] = (seen[event] or 0) + 1
  if ONCE[event] and seen[event] > 1 then
    self:fail("%s: '%s' a second time", side.name, event)
  end
end

function Sequence:watch(name, stream)
  local side = { name = name, stream = stream, seen = {}, corks = 0 }
  local function listen(event)
    stream:on(event, function()
      self:happened(side, event)
    end)
  end
  for _, event in ipairs(EVENTS) do
    listen(event)
  end
  if self.random(4) == 1 then
    for _, event in ipairs(PACE) do
      listen(event)
    end
  end
  stream:on('error', function(err)
    self.disturbed = true
    self:note('  %s error %s', name, tostring(err and err.code or err))
  end)
  self.sides[#self.sides + 1] = side
  return side
end

-- Compares what came with what was sent.
function Sequence:receive(side, chunk)
  local flow = side.into
  self.progress = self.progress + 1
  if side.seen['end'] or side.seen.close then
    self:fail("%s: data after its end", side.name)
  end
  if not self.failure and not tape.holds(flow.got, chunk) then
    self:fail('%s: other bytes than those sent, after %d', side.name, flow.got)
  end
  flow.got = flow.got + #chunk
  if flow.got > flow.sent then
    self:fail('%s: %d bytes came, %d had been sent', side.name, flow.got, flow.sent)
  end
end

-- ---- Ways to read ----

function Sequence:readFlowing(side)
  side.stream:on('data', function(chunk)
    self:receive(side, chunk)
  end)
end

-- One chunk for each turn of the loop, so that writers have to wait.
function Sequence:readSlowly(side)
  local stream = side.stream
  side.byHand = true
  stream:on('data', function(chunk)
    self:receive(side, chunk)
    stream:pause()
    timers.setImmediate(function()
      stream:resume()
    end)
  end)
end

-- By 'readable' and read(n), putting back a part now and then.
function Sequence:readByHand(side)
  local stream, random = side.stream, self.random
  side.byHand = true
  stream:on('readable', function()
    self.progress = self.progress + 1
    for _ = 1, 1000 do
      local size = random(3) == 1 and random(20000) or nil
      local chunk = stream:read(size) or size and stream:read()
      if not chunk then
        return
      elseif #chunk > 1 and random(10) == 1 and not stream.destroyed and not stream._readableState.ended then
        local keep = random(#chunk - 1)
        self:receive(side, chunk:sub(1, keep))
        stream:unshift(chunk:sub(keep + 1))
      else
        self:receive(side, chunk)
      end
    end
  end)
end

-- ---- Steps ----

-- Now and then as a script calls that keeps `local write = socket.write`, or uses the class: what a stream hides of how
-- it works must not depend on the way by which the method was found.
local function call(self, stream, method, ...)
  if self.random(3) == 1 then
    return stream.constructor.prototype[method](stream, ...)
  end
  return stream[method](stream, ...)
end

local SIZES = { 0, 1, 10, 1000, 16384, 40000, 65536, 70000, 200000, 400000 }

local function send(self, side, method, size)
  size = size or SIZES[self.random(#SIZES)]
  local flow = side.out
  self:note('%s:%s %d', side.name, method, size)
  local late = side.finished
  local chunk = tape.piece(flow.sent, size)
  if not late and not side.stream.destroyed then
    flow.sent = flow.sent + size
  elseif late then
    self.disturbed = true -- a write after the end is an error
  end
  call(self, side.stream, method, chunk)
end

local steps = {}

function steps.write(self, side)
  if side.out and (not side.finished or self.random(20) == 1) then
    send(self, side, 'write')
  end
end

-- More than unix sockets hold.
function steps.flood(self, side)
  if side.out and not side.finished and self.random(2) == 1 then
    for _ = 1, 6 do
      send(self, side, 'write', 150000)
    end
  end
end

function steps.finish(self, side)
  if side.out and not side.finished and self.random(4) == 1 then
    if self.random(2) == 1 then
      send(self, side, 'finish')
    else
      self:note('%s:finish', side.name)
      call(self, side.stream, 'finish')
    end
    side.finished = true
  end
end

function steps.pause(self, side)
  if not side.byHand then
    self:note('%s:pause', side.name)
    call(self, side.stream, 'pause')
  end
end

function steps.resume(self, side)
  -- Without anybody to read, resuming would lose what comes.
  if not side.byHand and (side.into or side.piped) then
    self:note('%s:resume', side.name)
    call(self, side.stream, 'resume')
  end
end

function steps.pipe(self, side)
  if side.target and not side.piped and not side.target.stream.destroyed and not side.target.stream.writableEnded then
    self:note('%s:pipe %s', side.name, side.target.name)
    call(self, side.stream, 'pipe', side.target.stream)
    side.piped = true
  end
end

function steps.cork(self, side)
  if self.random(2) == 1 then
    self:note('%s:cork', side.name)
    call(self, side.stream, 'cork')
    side.corks = side.corks + 1
  end
end

function steps.uncork(self, side)
  if side.corks > 0 then
    self:note('%s:uncork', side.name)
    call(self, side.stream, 'uncork')
    side.corks = side.corks - 1
  end
end

-- Beside a pipe, for a while.
function steps.listen(self, side)
  if side.target and not side.listener then
    self:note('%s:on data', side.name)
    side.listener = function()
      self.progress = self.progress + 1
    end
    call(self, side.stream, 'on', 'data', side.listener)
    -- It flows from now on, into nothing when it is not piped.
    if not side.piped then
      call(self, side.stream, 'pause')
    end
  end
end

function steps.unlisten(self, side)
  if side.listener then
    self:note('%s:off data', side.name)
    call(self, side.stream, 'removeListener', 'data', side.listener)
    side.listener = nil
  end
end

function steps.unpipe(self, side)
  if side.piped and self.random(3) == 1 then
    steps.unlisten(self, side) -- a listener that is left takes what comes
    self:note('%s:unpipe', side.name)
    call(self, side.stream, 'unpipe', self.random(2) == 1 and side.target.stream or nil)
    side.piped = false
  end
end

function steps.encode(self, side)
  if self.random(8) == 1 then
    self:note('%s:setEncoding', side.name)
    call(self, side.stream, 'setEncoding', 'latin1') -- leaves bytes as they are
  end
end

function steps.destroy(self, side)
  if self.random(12) == 1 then
    self.disturbed = true
    if self.random(2) == 1 then
      self:note('%s:destroy', side.name)
      call(self, side.stream, 'destroy')
    else
      self:note('%s:destroy error', side.name)
      call(self, side.stream, 'destroy', errors.new('made to fail', { code = 'MADE' }))
    end
  end
end

local NAMES = {}
for name in pairs(steps) do
  NAMES[#NAMES + 1] = name
end
table.sort(NAMES)
for _ = 1, 6 do
  NAMES[#NAMES + 1] = 'write'
end

-- ---- A sequence ----

local function turn(self)
  self.await(function(done)
    timers.setImmediate(done)
  end)
end

local function rest(self)
  local kind = self.random(6)
  if kind == 1 then
    for _ = 1, self.random(4) do
      turn(self)
    end
  elseif kind == 2 then
    self.await(function(done)
      require('process').nextTick(done)
    end)
  end
end

-- Who reads what comes out of `side`.
local function reader(self, side, flow)
  local way = self.random(3)
  side.into = flow
  if way == 1 then
    self:note('%s is read by hand', side.name)
    self:readByHand(side)
  elseif way == 2 then
    self:note('%s is read slowly', side.name)
    self:readSlowly(side)
  else
    self:readFlowing(side)
  end
end

-- a → b and back.
local function direct(self, options)
  local one, other = self.transport.open(self.await, options)
  local a = self:watch('a', one)
  local b = one == other and a or self:watch('b', other)
  a.out = newFlow()
  reader(self, b, a.out)
  self.flows = { a.out }
  if a ~= b then
    b.out = newFlow()
    reader(self, a, b.out)
    self.flows[2] = b.out
  end
end

-- a → b ⇒ c → d, and perhaps back.
local function piped(self, options)
  local transport = self.transport
  local back = self.random(2) == 1
  if back then
    options.allowHalfOpen = true -- else the end of one way cuts the other short
  end
  local one, two = transport.open(self.await, options)
  local three, four = (transport.into or transport.open)(self.await, options)
  local a = self:watch('a', one)
  local b = one == two and a or self:watch('b', two)
  local c = self:watch('c', three)
  local d = three == four and c or self:watch('d', four)
  a.out, b.target = newFlow(), c
  reader(self, d, a.out)
  self.flows = { a.out }
  if a == b then
    return
  end
  if back then
    self:note('and back')
    d.out, c.target = newFlow(), b
    reader(self, a, d.out)
    self.flows[2] = d.out
  else
    c.stream:resume()
    a.stream:resume()
  end
end

-- a → b ⇒ b → a
local function echoed(self, options)
  if self.transport.ends == 1 then
    direct(self, options)
    return
  end
  local one, other = self.transport.open(self.await, options)
  local a, b = self:watch('a', one), self:watch('b', other)
  a.out, b.target = newFlow(), b
  reader(self, a, a.out)
  self.flows = { a.out }
end

local SHAPES = { direct = direct, piped = piped, echoed = echoed }

local function closed(self)
  for _, side in ipairs(self.sides) do
    if not side.seen.close then
      return false
    end
  end
  return true
end

-- Until everything is closed or nothing happens any more.
local function quiet(self)
  local last, idle = -1, 0
  while idle < QUIET and not self.failure and not closed(self) do
    turn(self)
    idle = self.progress == last and idle + 1 or 0
    last = self.progress
  end
end

-- Undoes what holds a stream up.
local function release(self, side)
  local stream = side.stream
  for _ = 1, side.corks do
    stream:uncork()
  end
  side.corks = 0
  if side.target then
    steps.pipe(self, side)
  end
  if not side.byHand then
    stream:resume()
  end
end

-- Ends what has not ended, first where bytes come from, then everywhere.
local function wind(self)
  for _, side in ipairs(self.sides) do
    release(self, side)
  end
  for _, side in ipairs(self.sides) do
    if side.out and not side.finished then
      side.finished = true
      side.stream:finish()
    end
  end
  quiet(self)
  for _, side in ipairs(self.sides) do
    if not side.stream.writableEnded then
      side.stream:finish()
    end
    if not side.byHand then
      side.stream:resume()
    end
  end
  quiet(self)
end

local function check(self)
  for _, side in ipairs(self.sides) do
    local seen = side.seen
    if not seen.close then
      local s = side.stream
      self:fail("%s: no 'close' (end %s, finish %s, destroyed %s, readable %d, writable %d)", side.name,
        tostring(seen['end']), tostring(seen.finish), tostring(s.destroyed), s.readableLength, s.writableLength)
    end
  end
  for i, flow in ipairs(self.flows) do
    if not self.disturbed and flow.got ~= flow.sent then
      self:fail('flow %d: %d bytes came of %d', i, flow.got, flow.sent)
    end
  end
end

local HIGH_WATER_MARKS = { nil, 1, 100, 16384, 100000, 1000000 }

local function randomOptions(self)
  local options = { highWaterMark = HIGH_WATER_MARKS[self.random(6)] }
  if self.random(3) == 1 then
    options.allowHalfOpen = true
  end
  self:note('%s, highWaterMark %s, allowHalfOpen %s', self.shape, tostring(options.highWaterMark),
    tostring(options.allowHalfOpen))
  return options
end

--- Runs one sequence; raises, with what was done, when something does not hold.
---@param await function
---@param transport spec.Transport
---@param shape 'direct'|'piped'|'echoed'
---@param seed integer
function M.run(await, transport, shape, seed)
  local self = setmetatable({
    await = await, transport = transport, shape = shape, random = generator(seed), steps = {}, sides = {}, progress = 0,
    disturbed = false,
  }, Sequence)
  for _ = 1, 10 do
    self.random(2)
  end
  SHAPES[shape](self, randomOptions(self))
  for _ = 1, 10 + self.random(40) do
    if self.failure then
      break
    end
    local side = self.sides[self.random(#self.sides)]
    steps[NAMES[self.random(#NAMES)]](self, side)
    rest(self)
  end
  self:note('and wind up')
  wind(self)
  check(self)
  for _, side in ipairs(self.sides) do
    side.stream:destroy()
  end
  if self.failure then
    error(('seed %d over %s: %s\n  %s'):format(seed, transport.name, self.failure, table.concat(self.steps, '\n  ')), 0)
  end
end

return M
