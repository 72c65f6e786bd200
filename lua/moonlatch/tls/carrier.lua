--- What carries the bytes of a TLS connection that runs over a script's own stream: it joins the stream with the
--- native relay that TLS stands on.

local errors = require 'moonlatch.errors'
local native = require 'moonlatch.native'

local type, xpcall = type, xpcall
local codes = errors.codes

---@class moonlatch.tls.Carrier
---@field socket tls.TLSSocket
---@field stream Duplex
---@field relay userdata     the handle for TLS to stand on
---@field failure any        the error of the stream
---@field failureCode string what the relay was told of it
---@field ended boolean      the stream has
---@field gone boolean       the stream closed without an error
---@field finishing boolean  TLS has ended its side
---@field closeError any     what the socket was destroyed with
---@field closed boolean     TLS has closed
local Carrier = {}
Carrier.__index = Carrier

-- The stream has failed. TLS hears of it when it has had what came before.
local function fail(self, err)
  if self.closed or self.failureCode then
    return
  end
  local code = type(err) == 'table' and err.code
  self.failure, self.failureCode = err, type(code) == 'string' and code or 'ERR_STREAM_FAILED'
  self.relay:fail(self.failureCode, errors.text(err))
end

local function receive(self, chunk)
  local stream = self.stream
  if self.closed then
    return
  elseif stream.readableEncoding or stream.readableObjectMode or type(chunk) ~= 'string' then
    stream:pause()
    fail(self, codes.ERR_STREAM_WRAP())
  elseif not self.relay:receive(chunk) then
    stream:pause()
  end
end

-- TLS reads for the first time.
local function begin(self)
  local stream = self.stream
  self.begun = true
  if stream.readableEnded then
    self.relay:receiveEnd()
  elseif stream.readableEncoding or stream.readableObjectMode then
    fail(self, codes.ERR_STREAM_WRAP())
  else
    stream:on('data', function(chunk)
      receive(self, chunk)
    end)
  end
end

local function hangUp(self)
  fail(self, errors.new('socket hang up', { code = 'ECONNRESET' }))
end

local function destroyAtEnd(socket)
  if socket.readableEnded then
    socket:destroy()
  else
    -- What came before the end is there to be read still.
    socket:once('end', function()
      socket:destroy()
    end)
  end
end

-- A stream that closes without an end has been cut off. Whoever shakes hands is told so; later it is no error, as
-- in Node: the script may well have closed the stream itself.
local function cutOff(self)
  local socket = self.socket
  if self.closed or self.failureCode or self.gone then
    return
  end
  self.gone = true
  if self.ended and self.finishing then
    return -- a clean end, and the socket is about to come to it
  elseif self.ended then
    destroyAtEnd(socket)
  elseif socket.secureConnecting then
    self.relay:receiveEnd()
    destroyAtEnd(socket) -- should the handshake end well with what is there
  else
    hangUp(self)
  end
end

-- That a stream was destroyed tells nothing of why.
local function writeFailed(self, err)
  local reason = self.stream.errored
  if reason == nil then
    reason = err
  end
  if type(reason) ~= 'table' or reason.code ~= 'ERR_STREAM_DESTROYED' then
    fail(self, reason)
    return
  end
  cutOff(self)
  if not self.socket.secureConnecting then
    hangUp(self)
  end
end

--- Joins `stream` with a new relay, for `socket` to stand on. Nothing is read before TLS reads.
---@param socket tls.TLSSocket
---@param stream Duplex
---@return moonlatch.tls.Carrier
function Carrier.new(socket, stream)
  local self = setmetatable({
    socket = socket, stream = stream, ended = false, gone = false, finishing = false, closed = false,
  }, Carrier)
  self.relay = native.relay(self)
  stream.allowHalfOpen = true -- TLS has its own end to say when the stream has ended, and says when it is over
  function self.onWritten(err)
    if err ~= nil then
      writeFailed(self, err)
    else
      self.relay:written()
    end
  end
  stream:on('error', function(err)
    fail(self, err)
  end)
  stream:once('end', function()
    self.ended = true
    self.relay:receiveEnd()
  end)
  stream:once('close', function()
    cutOff(self)
  end)
  return self
end

--- What the script is to be told where TLS failed with `err`: the stream's own error, if that was the cause. Nil when
--- the stream has just gone.
---@param err Error
---@return any
function Carrier:cause(err)
  if err.code ~= self.failureCode then
    return err
  end
  return not self.gone and self.failure or nil
end

-- Destroys the stream when its own two ends have come. What a stream holds may be lost when it is destroyed, unlike
-- what a kernel holds.
local function destroyWhenOver(stream)
  local function look()
    if stream.readableEnded and stream.writableFinished then
      stream:destroy()
    end
  end
  stream:once('end', look)
  stream:once('finish', look)
  stream:resume()
  look()
end

--- The socket has been destroyed: so is the stream, after a clean end as soon as it has ended itself. Where TLS is at
--- work still this waits until it has said its last.
---@param err? any
function Carrier:close(err)
  self.closeError = self.closeError or err
  if self.closed or not self.relay:isClosed() then
    return
  end
  self.closed = true
  local stream, unsent = self.stream, self.relay:release()
  if unsent and stream.writable then
    stream:write(unsent, 'buffer')
  end
  if self.closeError == nil and self.finishing and self.socket.readableEnded then
    destroyWhenOver(stream)
  else
    stream:destroy()
  end
end

native.handlers('relay', {
  outgoing = function(carrier, bytes)
    local stream = carrier.stream
    -- Bytes, whatever encoding the stream expects of text.
    local ok, err = xpcall(stream.write, errors.from, stream, bytes, 'buffer', carrier.onWritten)
    if not ok then
      fail(carrier, err)
    end
  end,
  finish = function(carrier)
    carrier.finishing = true
    carrier.stream:finish()
    carrier.relay:finished()
  end,
  flow = function(carrier)
    if not carrier.begun then
      begin(carrier)
    end
    carrier.stream:resume()
  end,
  closed = function(carrier)
    carrier:close()
  end,
})

return Carrier
