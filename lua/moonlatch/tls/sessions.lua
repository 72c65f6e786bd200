--- A server's sessions in a store of the script's: the events 'resumeSession' and 'newSession'.
local errors = require 'moonlatch.errors'
local given = require 'moonlatch.tls.given'
local questions = require 'moonlatch.tls.questions'

local type, xpcall = type, xpcall
local ask, answering, emit = questions.ask, questions.answering, questions.emit

local M = {}

local function checkSession(data)
  if type(data) ~= 'string' then
    error(errors.argType('sessionData', 'string', data), 0)
  end
  return data
end

--- Which session is behind this id?
function ask.session(socket, token, id)
  local answer = answering(socket, token, checkSession)
  emit(socket, token, answer, 'resumeSession', id, answer)
end

--- Has this new session been stored? The handshake's last flight waits for it.
function ask.store(socket, token, id, data)
  local answer = answering(socket, token, checkSession)
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
