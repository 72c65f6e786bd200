--- What a tls.TLSSocket tells about its connection: ciphers, certificates, sessions, keying material. A file of its own
--- beside socket.lua, which is about how the connection comes to be.
local errors = require 'moonlatch.errors'

local codes = errors.codes

-- Asks the handle; nil once the socket is closed, and before TLS is on top of its connection.
local function ask(self, method, ...)
  local handle = self._handle
  local get = handle and handle[method]
  if get then
    return get(handle, ...)
  end
end

local function asX509(handle)
  return handle and require('moonlatch.crypto.x509').wrap(handle)
end

---@param TLSSocket moonlatch.Class
return function(TLSSocket)
  -- Getters that need nothing but the handle.
  for name, method in pairs {
    getCipher = 'cipher',
    getProtocol = 'protocol',
    getSession = 'session',
    getTLSTicket = 'ticket',
    getFinished = 'finished',
    getPeerFinished = 'peerFinished',
    getSharedSigalgs = 'sharedSigalgs',
  } do
    TLSSocket[name] = function(self)
      return ask(self, method)
    end
  end

  --- The peer's certificate as a table; empty when it gave none, nil once the socket is closed.
  ---@param detailed? boolean  with `issuerCertificate` links through the chain
  ---@return table?
  function TLSSocket:getPeerCertificate(detailed)
    return ask(self, 'peerCertificate', detailed) or (self._handle and {} or nil)
  end

  --- Our own certificate in the same form.
  ---@return table?
  function TLSSocket:getCertificate()
    return ask(self, 'certificate') or (self._handle and {} or nil)
  end

  ---@return crypto.X509Certificate?
  function TLSSocket:getPeerX509Certificate()
    return asX509(ask(self, 'peerX509'))
  end

  ---@return crypto.X509Certificate?
  function TLSSocket:getX509Certificate()
    return asX509(ask(self, 'x509'))
  end

  --- Whether an earlier session was resumed.
  ---@return boolean
  function TLSSocket:isSessionReused()
    return ask(self, 'isReused') or false
  end

  --- { type, name, size } of the key exchange on a client; empty when it was not ephemeral, nil on a server.
  ---@return table?
  function TLSSocket:getEphemeralKeyInfo()
    if not self._tls.isServer then
      return ask(self, 'ephemeralKeyInfo')
    end
  end

  --- Keying material for another protocol (RFC 5705). ERR_TLS_INVALID_STATE before the handshake is over.
  ---@param length integer
  ---@param label string
  ---@param contextValue? string
  ---@return string
  function TLSSocket:exportKeyingMaterial(length, label, contextValue)
    errors.validate.integer(length, 'length', 1, 2 ^ 31 - 1)
    errors.validate.string(label, 'label')
    if contextValue ~= nil then
      errors.validate.string(contextValue, 'context')
    end
    if not self._established or not self._handle then
      error(codes.ERR_TLS_INVALID_STATE(), 0)
    end
    local material, err = self._handle:exportKeyingMaterial(length, label, contextValue)
    return material or error(err, 0)
  end

  --- Limits the plaintext of a record, 512 to 16384 bytes.
  ---@param size integer
  ---@return boolean
  function TLSSocket:setMaxSendFragment(size)
    errors.validate.number(size, 'size')
    return ask(self, 'setMaxSendFragment', size) or false
  end
end
