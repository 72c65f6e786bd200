--- tls.connect in all its forms.
local errors = require 'moonlatch.errors'
local arguments = require 'moonlatch.net.arguments'
local net = require 'net'
local TLSSocket = require 'moonlatch.tls.socket'
local context = require 'moonlatch.tls.context'
local given = require 'moonlatch.tls.given'
local tls = require 'moonlatch.tls.namespace'

local type, pairs = type, pairs

local MIN_DH_SIZE = 1024 -- bits

local M = {}

local function merge(into, from)
  for key, value in pairs(from) do
    into[key] = value
  end
  return into
end

-- connect(options[, cb]) | connect(port[, host][, options][, cb]) | connect(path[, options][, cb]).
-- What the options say wins over the arguments before them.
local function normalize(...)
  local options, callback, whole = arguments.normalize(...)
  if not whole then
    for i = 2, math.min(3, select('#', ...)) do
      local value = select(i, ...)
      if type(value) == 'table' and not errors.validate.isCallable(value) then
        merge(options, value)
      end
    end
  end
  return options, callback
end

local warned = false

-- RFC 6066, 3: only host names go into server_name. Node sends none unless asked; a name given as the host is as good
-- as asked for, except the "localhost" of a test set-up.
local function servername(options)
  local name = options.servername
  if name == nil or name == false then
    local host = options.host
    if type(host) == 'string' and host ~= '' and host ~= 'localhost' and net.isIP(host) == 0
      and name == nil and not options.path then
      return host
    end
    return nil
  end
  errors.validate.cString(name, 'options.servername')
  if name == '' then
    return nil
  end
  if net.isIP(name) ~= 0 then
    if not warned then
      warned = true
      errors.emitWarning('Setting the TLS ServerName to an IP address is not permitted by RFC 6066. '
        .. 'This will be ignored in a future version.', 'DeprecationWarning', 'DEP0123')
    end
    return nil
  end
  return name
end

local function check(options)
  if options.checkServerIdentity ~= nil then
    errors.validate.func(options.checkServerIdentity, 'options.checkServerIdentity')
  end
  if options.minDHSize ~= nil then
    errors.validate.number(options.minDHSize, 'options.minDHSize', 1)
  end
  if options.timeout ~= nil then
    errors.validate.number(options.timeout, 'options.timeout', 0)
  end
end

-- TLS 1.3 has no NPN. Who asks for it, and for no version, means one that does.
local function stayWithNpn(settings)
  if given(settings.NPNProtocols) and not given(settings.ALPNProtocols) and settings.minVersion == nil
    and settings.maxVersion == nil and not given(settings.secureProtocol)
    and tls.DEFAULT_MAX_VERSION == 'TLSv1.3' and tls.DEFAULT_MIN_VERSION ~= 'TLSv1.3' then
    settings.maxVersion = 'TLSv1.2'
  end
end

-- The name the certificate is compared with, before anything is sent for it.
local function expectedName(options)
  if type(options.servername) == 'string' and options.servername ~= '' then
    return options.servername
  end
  local below = options.socket
  return options.host or type(below) == 'table' and below._host or 'localhost'
end

--- Connects and begins the handshake. `callback` is added as a listener for 'secureConnect'.
---
--- Option errors raise; everything later is the socket's 'error' event.
---@return tls.TLSSocket
---@source Node.js tls.connect()
function M.connect(...)
  local options, callback = normalize(...)
  check(options)
  -- A script that wraps createSecureContext sees what counts.
  local settings = merge({ ciphers = tls.DEFAULT_CIPHERS, minDHSize = MIN_DH_SIZE }, options)
  settings.isServer = false
  stayWithNpn(settings)
  settings.secureContext = context.given(options) or tls.createSecureContext(settings)
  -- Nil as well: a name that is not to be sent must not be left where it was given.
  settings.servername = servername(options)
  settings.host = expectedName(options)
  local socket = TLSSocket(options.socket, settings)
  socket._target = options
  if callback then
    socket:once('secureConnect', callback)
  end
  if not options.socket and not socket.destroyed then -- by a signal
    if options.timeout then
      socket:setTimeout(options.timeout)
    end
    socket:connect(options)
  end
  return socket
end

return M
