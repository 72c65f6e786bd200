-- A proxy, which is two sockets piped into each other: whatever a script does to the two meanwhile, what one client
-- writes is what the other reads, and all ends come. Most of the time such pipes run in C.
--
-- MOONLATCH_SPEC_SEED=n begins at that seed, MOONLATCH_SPEC_SEQUENCES=n tries so many per transport.

local process = require 'process'
local spec = require 'moonlatch.spec'
local tape = require 'spec.support.tape'
local timers = require 'timers'
local transports = require 'spec.support.transports'

local count = tonumber(os.getenv('MOONLATCH_SPEC_SEQUENCES')) or 20
local seed = tonumber(os.getenv('MOONLATCH_SPEC_SEED')) or os.time() % 1000000 * 1000

-- Turns of the loop in which the script meddles, and those after which nothing comes any more.
local MEDDLING, LAST = 300, 20000

-- The same everywhere, for each seed. random(n) gives 1 … n.
local function generator(from)
  local x = (from * 7919 + 12345) % 2147483647
  return function(n)
    x = (x * 48271) % 2147483647
    return math.floor(x / 65536) % n + 1
  end
end

---@class spec.ProxyEnd   one of the proxy's two sockets
---@field socket net.Socket
---@field to spec.ProxyEnd  what it is piped into
---@field piped boolean
---@field paused? boolean
---@field listener? function

-- By the name that the object knows, or by the one that the class does.
local function call(self, side, method, ...)
  self.steps[#self.steps + 1] = side.name .. ':' .. method
  if self.random(3) == 1 then
    return side.socket.constructor.prototype[method](side.socket, ...)
  end
  return side.socket[method](side.socket, ...)
end

local function nop() end

local meddle = {}

function meddle.pause(self, side)
  call(self, side, 'pause')
  side.paused = true
end

function meddle.resume(self, side)
  if side.paused and side.piped then
    call(self, side, 'resume')
    side.paused = false
  end
end

function meddle.unpipe(self, side)
  if side.piped and self.random(2) == 1 then
    call(self, side, 'unpipe', side.to.socket)
    side.piped, side.paused = false, true
  end
end

function meddle.pipe(self, side)
  if not side.piped then
    call(self, side, 'pipe', side.to.socket)
    call(self, side, 'resume')
    side.piped, side.paused = true, false
  end
end

function meddle.listen(self, side)
  if side.piped and not side.listener and not side.paused then
    side.listener = function() end
    call(self, side, 'on', 'data', side.listener)
  end
end

function meddle.unlisten(self, side)
  if side.listener then
    call(self, side, 'removeListener', 'data', side.listener)
    side.listener = nil
  end
end

function meddle.write(self, side)
  if not side.socket.writableEnded then
    call(self, side, 'write', '')
  end
end

function meddle.cork(self, side)
  if not side.socket.writableEnded then
    call(self, side, 'cork')
    process.nextTick(side.socket.uncork, side.socket)
  end
end

function meddle.look(_, side)
  local socket = side.socket
  return socket.readableLength, socket.readableFlowing, socket.writableLength, socket.bytesWritten
end

function meddle.once(self, side)
  call(self, side, 'once', self.random(2) == 1 and 'drain' or 'pause', nop)
end

function meddle.setTimeout(self, side)
  call(self, side, 'setTimeout', self.random(2) == 1 and 60000 or 0)
end

local NAMES = {}
for name in pairs(meddle) do
  NAMES[#NAMES + 1] = name
end
table.sort(NAMES)

-- Writes so many bytes to a client, and ends it.
local function feed(self, client, total)
  local sent = 0
  local function pump()
    while sent < total do
      local size = math.min(self.random(150000), total - sent)
      sent = sent + size
      if not client:write(tape.piece(sent - size, size)) then
        client:once('drain', pump)
        return
      end
    end
    client:finish()
  end
  timers.setImmediate(pump)
end

-- Checks what comes out of a client; some are slow.
local function drink(self, client, total)
  local got, slow = 0, self.random(2) == 1
  client:on('data', function(chunk)
    if not tape.holds(got, chunk) then
      self.failure = 'other bytes than those sent, after ' .. got
    end
    got = got + #chunk
    if slow and self.random(3) == 1 then
      client:pause()
      timers.setImmediate(client.resume, client)
    end
  end)
  client:on('end', function()
    if got ~= total then
      self.failure = ('%d bytes of %d'):format(got, total)
    end
  end)
end

local function watch(self, socket)
  socket:on('error', function(err)
    self.failure = tostring(err)
  end)
  socket:on('close', function()
    self.open = self.open - 1
  end)
end

-- Everything goes its way again.
local function leaveAlone(self, side)
  meddle.unlisten(self, side)
  if not side.socket.destroyed then
    meddle.pipe(self, side)
    meddle.resume(self, side)
  end
end

local function sequence(await, transport, from)
  local self = { random = generator(from), steps = {}, open = 4 }
  local a, p = transport.open(await, { allowHalfOpen = true })
  local q, d = (transport.into or transport.open)(await, { allowHalfOpen = true })
  local left = { name = 'left', socket = p, piped = true }
  local right = { name = 'right', socket = q, piped = true, to = left }
  left.to = right
  p:pipe(q)
  q:pipe(p)
  for _, side in ipairs { left, right } do
    side.socket:on('end', function()
      if not side.piped then
        side.piped = true
        side.to.socket:finish()
      end
    end)
  end
  for _, socket in ipairs { a, p, q, d } do
    watch(self, socket)
  end
  local there, back = 100000 + self.random(2000000), 100000 + self.random(2000000)
  feed(self, a, there)
  feed(self, d, back)
  drink(self, d, there)
  drink(self, a, back)
  for turn = 1, LAST do
    if self.open == 0 or self.failure then
      break
    elseif turn < MEDDLING and self.random(3) == 1 then
      local side = self.random(2) == 1 and left or right
      if not side.socket.destroyed and not side.socket.readableEnded then
        meddle[NAMES[self.random(#NAMES)]](self, side)
      end
    elseif turn >= MEDDLING then
      leaveAlone(self, left)
      leaveAlone(self, right)
    end
    await(timers.setImmediate)
  end
  if self.failure or self.open > 0 then
    error(('seed %d: %s, %d open\n%s'):format(from, self.failure or 'never ended', self.open,
      table.concat(self.steps, '\n')), 0)
  end
end

describe(('A proxy (%d sequences each from seed %d)'):format(count, seed), function()
  for _, transport in ipairs(transports.pipes) do
    if transport.native and transport.name:find('unix', 1, true) then
      it('passes everything on in both directions over ' .. transport.name, spec.coroutine(function(await)
        for i = 0, count - 1 do
          sequence(await, transport, seed + i)
        end
      end, { timeout = 10000 + count * 300 }))
    end
  end
end)
