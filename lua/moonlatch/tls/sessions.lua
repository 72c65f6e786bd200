--- A server's sessions in a store of the script's: the events 'resumeSession' and 'newSession'.
local errors = require 'moonlatch.errors'
local questions = require 'moonlatch.tls.questions'

local type, xpcall = type, xpcall
local ask, call, refuse = questions.ask, questions.call, questions.refuse

questions.events.session = 'resumeSession'
questions.events.store = 'newSession'

local M = {}

local function given(value)
  return value ~= nil and value ~= false
end

-- Emits an event whose last argument answers the question. Without a listener, who may have left, there is no answer
-- to wait for.
local function emit(socket, token, answer, name, ...)
  local server = socket._tls.server
  local ok, heard = call(socket, token, server.emit, server, name, ...)
  if ok and not heard then
    answer()
  end
end

local function answering(socket, token)
  return function(err, data)
    local handle = socket._handle
    if not handle then
      return
    elseif given(err) then
      refuse(socket, token, err)
    elseif given(data) and type(data) ~= 'string' then
      refuse(socket, token, errors.argType('sessionData', 'string', data))
    else
      handle:answerData(token, given(data) and data or nil)
    end
  end
end

--- Which session is behind this id?
function ask.session(socket, token, id)
  local answer = answering(socket, token)
  emit(socket, token, answer, 'resumeSession', id, answer)
end

--- Has this new session been stored? The handshake's last flight waits for it.
function ask.store(socket, token, id, data)
  local answer = answering(socket, token)
  local function stored(err)
    answer(err)
  end
  emit(socket, token, stored, 'newSession', id, data, stored)
end

--- A session that a server has made after the handshake: nothing waits until it is stored.
---@param socket tls.TLSSocket
---@param id string
---@param data string
function M.announce(socket, id, data)
  local server = socket._tls.server
  if not server then
    return
  end
  local function stored(err)
    if given(err) then
      socket:destroy(errors.from(err))
    end
  end
  local ok, err = xpcall(server.emit, errors.from, server, 'newSession', id, data, stored)
  if not ok then
    stored(err)
  end
end

return M
