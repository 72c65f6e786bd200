--- Renegotiation: a second handshake on a connection of TLS 1.2.
local errors = require 'moonlatch.errors'
local checkPolicy = require('moonlatch.tls.options').checkPolicy
local native = require 'moonlatch.native'
local questions = require 'moonlatch.tls.questions'
local tls = require 'moonlatch.tls.namespace'
local wishes = require 'moonlatch.tls.wishes'

local codes, validate = errors.codes, errors.validate
local ask = questions.ask

-- How many renegotiations the client has begun, each within the window after the one before.
local function count(socket)
  local now, last = native.hrtime(), socket._renegotiated
  if last and now - last < tls.CLIENT_RENEG_WINDOW then
    socket._renegotiations = socket._renegotiations + 1
  else
    socket._renegotiations = 1
  end
  socket._renegotiated = now
  return socket._renegotiations
end

--- A client begins a renegotiation. That costs the server more than the client, so there is a limit. The question may
--- have come along with data whose listener has forbidden it.
function ask.renegotiation(socket, token)
  if socket._renegotiationForbidden then
    questions.refuse(socket, token, codes.ERR_TLS_RENEGOTIATION_DISABLED())
  elseif count(socket) > tls.CLIENT_RENEG_LIMIT then
    questions.refuse(socket, token, codes.ERR_TLS_SESSION_ATTACK())
  else
    socket._handle:answerData(token)
  end
end

---@param TLSSocket moonlatch.Class
return function(TLSSocket)
  --- Begins another handshake, under TLS 1.2 alone. Of use to a server that wants the client's certificate after all:
  --- `{ requestCert = true }`. What the options leave out stays as it is. Nothing is written until it is over.
  ---
  --- `callback(err)` when it is over: `authorized` and getPeerCertificate() tell what is known then. On a client the
  --- server is judged again. An error that ends the connection is an 'error' event as well.
  ---
  --- Raises ERR_INVALID_ARG_TYPE. False, and the callback hears why, where it cannot be done:
  --- ERR_SSL_WRONG_SSL_VERSION under TLS 1.3, ERR_TLS_INVALID_STATE before the handshake is over,
  --- ERR_TLS_RENEGOTIATION_DISABLED, ERR_SSL_NO_RENEGOTIATION, ERR_SOCKET_CLOSED.
  ---@param options { requestCert?: boolean, rejectUnauthorized?: boolean }
  ---@param callback? fun(err?: moonlatch.Error)
  ---@return boolean
  ---@source Node.js tlsSocket.renegotiate(), RFC 5746
  function TLSSocket:renegotiate(options, callback)
    checkPolicy(validate.table(options, 'options'))
    if callback ~= nil then
      validate.func(callback, 'callback')
    end
    local requestCert, rejectUnauthorized = options.requestCert, options.rejectUnauthorized
    return wishes.add(self, function(handle)
      return handle:renegotiate(requestCert, rejectUnauthorized)
    end, callback)
  end

  --- From now on a peer that begins a renegotiation loses the connection: 'error' with ERR_TLS_RENEGOTIATION_DISABLED.
  ---@source Node.js tlsSocket.disableRenegotiation()
  function TLSSocket:disableRenegotiation()
    self._renegotiationForbidden = true
    local handle = self._handle
    if handle and handle.forbidRenegotiation then
      handle:forbidRenegotiation()
    end
  end
end
