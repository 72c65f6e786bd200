--- tls.createSecureContext and the SecureContext class.
local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'
local native = require 'moonlatch.native'
local options = require 'moonlatch.tls.options'
local tls = require 'moonlatch.tls.namespace'

local ADVISED_DH_BITS = 2048

--- Keys, certificates, trust and protocol choices, ready to be used by any number of connections.
---@class tls.SecureContext
---@field context userdata  the native context
---@field ownTicketKeys boolean  whether it was given any
local SecureContext = class('SecureContext')

-- The program's name and arguments stand in for "the application" in session id contexts we derive ourselves.
local application

local function applicationName()
  if not application then
    local process = require 'process'
    application = table.concat(process.argv, ' ')
  end
  return application
end

---@param given? tls.SecureContextOptions
---@source Node.js tls.createSecureContext()
function SecureContext:init(given)
  local wanted = options.read(given or {})
  wanted.application = applicationName()
  self.context = native.context(wanted)
  self.ownTicketKeys = wanted.ticketKeys ~= nil
  local bits = self.context:dhBits()
  if bits and bits < ADVISED_DH_BITS then
    errors.emitWarning(('DH parameter is less than %d bits'):format(ADVISED_DH_BITS), 'SecurityWarning')
  end
end

local M = { SecureContext = SecureContext }

--- Builds a context from `options` (keys, certificates, trust, protocol choices).
---
--- Wrong types raise ERR_INVALID_ARG_TYPE with the option's name; what OpenSSL refuses (an unreadable PEM, a key
--- that is not the certificate's, a wrong passphrase, an unknown cipher) raises an Error with its code, library
--- and reason.
---@param given? tls.SecureContextOptions
---@return tls.SecureContext
---@source Node.js tls.createSecureContext()
function M.createSecureContext(given)
  if given ~= nil and type(given) ~= 'table' then
    error(errors.argType('options', 'Object', given), 0)
  end
  return SecureContext(given)
end

--- The SecureContext that `value` is, or holds as the oldest crypto.createCredentials gave it ({ context = … }).
---@param value any
---@return tls.SecureContext?
function M.from(value)
  if class.isInstance(value, SecureContext) then
    return value
  end
  local held = type(value) == 'table' and value.context
  return class.isInstance(held, SecureContext) and held or nil
end

--- The context that `value` stands for: one already built, or options to build one from.
---@param value tls.SecureContext|tls.SecureContextOptions
---@return tls.SecureContext
function M.coerce(value)
  -- Looked up when called, so that a script can wrap it.
  return M.from(value) or tls.createSecureContext(value)
end

--- options.secureContext, checked. ERR_TLS_INVALID_CONTEXT when it is something else.
---@param wanted table
---@return tls.SecureContext?
function M.given(wanted)
  if wanted.secureContext == nil then
    return nil
  end
  return M.from(wanted.secureContext) or error(errors.codes.ERR_TLS_INVALID_CONTEXT('options.secureContext'), 0)
end

return M
