--- The writes that a Writable holds because another one is under way (or it is corked, or being
--- constructed): parallel arrays in its state, made with the first of them.

local errors = require 'moonlatch.errors'

local ipairs = ipairs
local codes = errors.codes

local writeBuffer = {}

--- The callback of writes that were given none.
function writeBuffer.nop() end

local nop = writeBuffer.nop

function writeBuffer.add(ws, chunk, name, callback)
  local chunks = ws.chunks
  if not chunks then
    chunks = {}
    ws.chunks, ws.encodings, ws.callbacks = chunks, {}, {}
    ws.firstBuffered, ws.allNoop = 1, true
  end
  local place = ws.firstBuffered + ws.bufferedRequestCount
  chunks[place], ws.encodings[place], ws.callbacks[place] = chunk, name, callback
  ws.bufferedRequestCount = ws.bufferedRequestCount + 1
  if callback ~= nop then
    ws.allNoop = false
  end
end

local function reset(ws)
  ws.chunks, ws.encodings, ws.callbacks = nil, nil, nil
  ws.bufferedRequestCount = 0
end

--- Takes the oldest out: chunk, encoding, callback.
function writeBuffer.take(ws)
  local i = ws.firstBuffered
  local chunk, name, callback = ws.chunks[i], ws.encodings[i], ws.callbacks[i]
  if ws.bufferedRequestCount == 1 then
    reset(ws)
  else
    ws.chunks[i], ws.encodings[i], ws.callbacks[i] = nil, nil, nil
    ws.firstBuffered = i + 1
    ws.bufferedRequestCount = ws.bufferedRequestCount - 1
  end
  return chunk, name, callback
end

-- One callback for a batch, which calls those of its members.
local function batchCallback(ws, first, last)
  if ws.allNoop then
    return nop
  end
  local callbacks = ws.callbacks
  return function(err)
    for i = first, last do
      callbacks[i](err)
    end
  end
end

local function stringList(ws, first, last)
  if first == 1 then
    return ws.chunks
  end
  local list = {}
  for i = first, last do
    list[i - first + 1] = ws.chunks[i]
  end
  return list
end

local function requestList(ws, first, last)
  local list = { allBuffers = true }
  for i = first, last do
    local name = ws.encodings[i]
    list[i - first + 1] = { chunk = ws.chunks[i], encoding = name, callback = ws.callbacks[i] }
    list.allBuffers = list.allBuffers and name == 'buffer'
  end
  return list
end

--- Takes all out: a list of strings, or of { chunk, encoding, callback }, and one callback for all.
---@param ws table
---@param asStrings boolean
function writeBuffer.takeAll(ws, asStrings)
  local first, last = ws.firstBuffered, ws.firstBuffered + ws.bufferedRequestCount - 1
  local callback = batchCallback(ws, first, last)
  local list = asStrings and stringList(ws, first, last) or requestList(ws, first, last)
  reset(ws)
  return list, callback
end

--- Fails what is still held, and whoever waits for the end, because the stream is not going to do it.
---@param self table
function writeBuffer.fail(self)
  local ws = self._writableState
  if ws.writing then
    return
  end
  while ws.bufferedRequestCount > 0 do
    local chunk, _, callback = writeBuffer.take(ws)
    ws.length = ws.length - (ws.objectMode and 1 or #chunk)
    callback(ws.errored or codes.ERR_STREAM_DESTROYED('write'))
  end
  local waiting = ws.onFinished
  ws.onFinished = nil
  for _, callback in ipairs(waiting or {}) do
    callback(ws.errored or codes.ERR_STREAM_DESTROYED('end'))
  end
end

return writeBuffer
