--- What TLS 1.3 has instead of renegotiation: new keys, and a client that shows who it is later.
local errors = require 'moonlatch.errors'
local checkPolicy = require('moonlatch.tls.options').checkPolicy
local nextTick = require('moonlatch.tick').nextTick
local wishes = require 'moonlatch.tls.wishes'

local validate = errors.validate

-- (options, callback) or (callback).
local function arguments(options, callback)
  if callback == nil and validate.isCallable(options) then
    options, callback = nil, options
  end
  options = options == nil and {} or validate.table(options, 'options')
  if callback ~= nil then
    validate.func(callback, 'callback')
  end
  return options, callback
end

local function tell(callback, err)
  if callback then
    nextTick(callback, err)
  end
  return err == nil
end

---@param TLSSocket moonlatch.Class
return function(TLSSocket)
  --- Encrypts with new keys from here on, under TLS 1.3 alone. With `requestPeer` the peer is asked to do the same.
  ---
  --- `callback(err)` when our message has been written and, with `requestPeer`, the peer's has come: it answers when it
  --- reads, if it ever does.
  ---
  --- Raises ERR_INVALID_ARG_TYPE. False, and the callback hears why, where it cannot be done: ERR_SSL_WRONG_SSL_VERSION
  --- before TLS 1.3, ERR_TLS_INVALID_STATE before the handshake is over and after our end, ERR_SOCKET_CLOSED.
  ---@param options? { requestPeer?: boolean }
  ---@param callback? fun(err?: moonlatch.Error)
  ---@return boolean
  ---@source RFC 8446, 4.6.3
  function TLSSocket:updateKeys(options, callback)
    options, callback = arguments(options, callback)
    local refused = wishes.refusal(self)
    if refused then
      return tell(callback, refused)
    end
    local peers = options.requestPeer == true
    local done, err = self._handle:updateKeys(peers)
    if not done then
      return tell(callback, err)
    end
    if not peers then
      return tell(callback)
    end
    local waiting = self._updates or {}
    self._updates = waiting
    waiting[#waiting + 1] = callback
    return true
  end

  --- The peer has new keys, too.
  ---@package
  function TLSSocket:_onKeyUpdate(err)
    local waiting = self._updates
    self._updates = nil
    for _, callback in ipairs(waiting or {}) do
      nextTick(callback, err)
    end
  end

  --- Asks the client to show its certificate now, on a server under TLS 1.3. The client must have offered that it will:
  --- ours do when they have a certificate or the option `postHandshakeAuth`.
  ---
  --- `callback(err)` when it has answered: `authorized` and getPeerCertificate() tell what is known then. A client that
  --- shows nothing, or nothing good, loses the connection, which is an 'error' event as well, unless `options` or the
  --- server itself say `rejectUnauthorized = false`.
  ---
  --- Raises ERR_INVALID_ARG_TYPE. False, and the callback hears why, where it cannot be done:
  --- ERR_SSL_EXTENSION_NOT_RECEIVED when the client has not offered it, ERR_SSL_WRONG_SSL_VERSION before TLS 1.3,
  --- ERR_SSL_NOT_SERVER, ERR_TLS_INVALID_STATE, ERR_SOCKET_CLOSED.
  ---@param options? { rejectUnauthorized?: boolean }
  ---@param callback? fun(err?: moonlatch.Error)
  ---@return boolean
  ---@source RFC 8446, 4.6.2
  function TLSSocket:requestCertificate(options, callback)
    options, callback = arguments(options, callback)
    checkPolicy(options)
    local rejectUnauthorized = options.rejectUnauthorized
    return wishes.add(self, function(handle)
      return handle:requestCertificate(rejectUnauthorized)
    end, callback)
  end
end
