--- What a tls.TLSSocket tells about its connection: ciphers, certificates, sessions, keying material. A file of its own
--- beside socket.lua, which is about how the connection comes to be.
local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'
local timeline = require 'moonlatch.tls.timeline'

local codes = errors.codes

-- The handle, also where it carries another TLS connection.
local function handleOf(self)
  return self._handle or self._view
end

-- Asks the handle; nil once the socket is closed, and before TLS is on top of its connection.
local function ask(self, method, ...)
  local handle = handleOf(self)
  local get = handle and handle[method]
  if get then
    return get(handle, ...)
  end
end

-- The same of what is so or not: false as long as there is nothing to ask.
local function askWhether(self, method)
  local answer = ask(self, method)
  if answer == nil and not self.destroyed then
    return false
  end
  return answer
end

local function asX509(handle)
  return handle and require('moonlatch.crypto.x509').wrap(handle)
end

-- What scripts asked the native object of old.
local function newSsl(socket)
  local ssl = {}
  --- Why the peer's certificate is not to be trusted, or nil.
  ---@return Error?
  ---@source Node.js 0.4
  function ssl.verifyError()
    local code, message = ask(socket, 'verifyError')
    return code and errors.new(message, { code = code }) or nil
  end
  return ssl
end

---@param TLSSocket moonlatch.Class
return function(TLSSocket)
  class.getter(TLSSocket, 'ssl', function(self)
    if self.destroyed then
      return nil
    end
    local ssl = self._ssl or newSsl(self)
    local handle = handleOf(self)
    self._ssl, ssl.fd = ssl, handle and handle:fd() or -1
    return ssl
  end)

  --- The cipher in use: OpenSSL's name for it, the one in the RFCs, and the protocol it came with.
  ---@return { name: string, standardName: string, version: string }?
  ---@source Node.js tlsSocket.getCipher()
  function TLSSocket:getCipher()
    return ask(self, 'cipher')
  end

  --- The version spoken.
  ---@return 'TLSv1'|'TLSv1.1'|'TLSv1.2'|'TLSv1.3'|nil
  ---@source Node.js tlsSocket.getProtocol()
  function TLSSocket:getProtocol()
    return ask(self, 'protocol')
  end

  --- The session, to give to another connection as `session`. Under TLS 1.3 take the 'session' event's instead: what is
  --- there before it cannot be resumed.
  ---@return string?
  ---@source Node.js tlsSocket.getSession()
  function TLSSocket:getSession()
    return self._told or ask(self, 'session')
  end

  --- A client's session ticket.
  ---@return string?
  ---@source Node.js tlsSocket.getTLSTicket()
  function TLSSocket:getTLSTicket()
    return ask(self, 'ticket')
  end

  --- The last Finished message that we sent: "tls-unique" of a full handshake (RFC 5929, 3), on a client.
  ---@return string?
  ---@source Node.js tlsSocket.getFinished()
  function TLSSocket:getFinished()
    return ask(self, 'finished')
  end

  --- The last Finished message that the peer sent.
  ---@return string?
  ---@source Node.js tlsSocket.getPeerFinished()
  function TLSSocket:getPeerFinished()
    return ask(self, 'peerFinished')
  end

  --- The signature algorithms that both ends have, as OpenSSL names them ("ECDSA+SHA256").
  ---@return string[]?
  ---@source Node.js tlsSocket.getSharedSigalgs()
  function TLSSocket:getSharedSigalgs()
    return ask(self, 'sharedSigalgs')
  end

  --- The peer's certificate as a table; empty when it gave none, nil once the socket is closed.
  ---@param detailed? boolean  with `issuerCertificate` links through the chain
  ---@return table?
  ---@source Node.js tlsSocket.getPeerCertificate()
  function TLSSocket:getPeerCertificate(detailed)
    return ask(self, 'peerCertificate', detailed) or (handleOf(self) and {} or nil)
  end

  --- Our own certificate in the same form.
  ---@return table?
  ---@source Node.js tlsSocket.getCertificate()
  function TLSSocket:getCertificate()
    return ask(self, 'certificate') or (handleOf(self) and {} or nil)
  end

  --- The peer's certificate; nil when it gave none and once the socket is closed.
  ---@return crypto.X509Certificate?
  ---@source Node.js tlsSocket.getPeerX509Certificate()
  function TLSSocket:getPeerX509Certificate()
    return asX509(ask(self, 'peerX509'))
  end

  --- Our own certificate; nil when we have none and once the socket is closed.
  ---@return crypto.X509Certificate?
  ---@source Node.js tlsSocket.getX509Certificate()
  function TLSSocket:getX509Certificate()
    return asX509(ask(self, 'x509'))
  end

  --- Whether an earlier session was resumed; nil once the socket is closed.
  ---@return boolean?
  ---@source Node.js tlsSocket.isSessionReused()
  function TLSSocket:isSessionReused()
    return askWhether(self, 'isReused')
  end

  --- The key exchange, on a client: { type, name, size }; empty when it was not ephemeral, nil on a server.
  ---@return table?
  ---@source Node.js tlsSocket.getEphemeralKeyInfo()
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
  ---@source Node.js tlsSocket.exportKeyingMaterial(), RFC 5705
  function TLSSocket:exportKeyingMaterial(length, label, contextValue)
    errors.validate.integer(length, 'length', 1, 2 ^ 31 - 1)
    errors.validate.string(label, 'label')
    if contextValue ~= nil then
      errors.validate.string(contextValue, 'context')
    end
    local handle = handleOf(self)
    if not self._established or not handle then
      error(codes.ERR_TLS_INVALID_STATE(), 0)
    end
    local material, err = handle:exportKeyingMaterial(length, label, contextValue)
    return material or error(err, 0)
  end

  --- Where the time of the handshake went, in milliseconds: as phases in order, and added up by what was waited for.
  --- During the handshake the last phase is still going on; nil once the socket is closed.
  ---@return tls.HandshakeTimeline?
  ---@source moonlatch
  function TLSSocket:handshakeTimeline()
    local phases, over = ask(self, 'timeline')
    return phases and timeline.summary(self, phases, over)
  end

  --- Whether the kernel encrypts what is sent: `enableKTLS` was set and it can. The key is handed over once the
  --- handshake's last flight has left, so this is not yet so in 'secureConnect' and 'secureConnection'. nil once the
  --- socket is closed.
  ---@return boolean?
  ---@source moonlatch
  function TLSSocket:isKTLS()
    return askWhether(self, 'offloaded')
  end

  --- Limits the plaintext of a record, 512 to 16384 bytes. The kernel, where it encrypts, knows no limit: false.
  ---
  --- Raises ERR_INVALID_ARG_TYPE for anything but a number, ERR_OUT_OF_RANGE for one that is no 32-bit integer; false
  --- when OpenSSL refuses the size.
  ---@param size integer
  ---@return boolean
  ---@source Node.js tlsSocket.setMaxSendFragment()
  function TLSSocket:setMaxSendFragment(size)
    errors.validate.integer(size, 'size', -2 ^ 31, 2 ^ 31 - 1)
    return ask(self, 'setMaxSendFragment', size) or false
  end
end
