--- Whom contexts without a `ca` trust: tls.rootCertificates, tls.getCACertificates, tls.setDefaultCACertificates.
---
--- There is no list of authorities inside the program. What Node calls "bundled", Mozilla's list, is on Debian the
--- system's own (ca-certificates), kept up to date with it; so 'bundled' and 'system' are the same here, and
--- --use-bundled-ca and --use-system-ca change nothing.
local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'
local native = require 'moonlatch.native'
local x509 = require 'moonlatch.crypto.x509'

local ipairs, type, setmetatable = ipairs, type, setmetatable

local trust = {}

local function readOnly(what)
  error(errors.TypeError(('Cannot assign to read only property %s'):format(what)), 0)
end

-- New entries are refused. That is as far as a sequence can be protected that ipairs and unpack are to work on.
local SEALED = {
  __newindex = function(_, index)
    readOnly(("'%s' of a list of certificates; copy it first"):format(tostring(index)))
  end,
}

local function split(text, pattern)
  local list = {}
  for pem in text:gmatch(pattern) do
    list[#list + 1] = pem
  end
  return setmetatable(list, SEALED)
end

local lists = {}

-- Node's bundled certificates end without a line end.
local CERTIFICATE = '.-\n%-%-%-%-%-END [^\n]+\n'
local BUNDLED = '(.-\n%-%-%-%-%-END [^\n]+)\n'

-- What the native side calls them.
local KINDS = { default = 'default', system = 'system', bundled = 'system', extra = 'extra' }

-- What has been read once is kept: the files are not looked at again.
local function list(kind)
  if not lists[kind] then
    local text, err = native.trustedCertificates(KINDS[kind])
    lists[kind] = split(text or error(err, 0), kind == 'bundled' and BUNDLED or CERTIFICATE)
  end
  return lists[kind]
end

--- The certificates of trusted authorities, as PEM strings.
---
--- 'default': those that contexts without a `ca` trust, setDefaultCACertificates considered; 'system' and 'bundled':
--- those of the system; 'extra': those of MOONLATCH_EXTRA_CA_CERTS. The sequence is made once and the same at every
--- call: to add to it, copy it (`{ unpack(list) }`).
---
--- Raises ERR_INVALID_ARG_TYPE when `kind` is not a string, ERR_INVALID_ARG_VALUE when it is none of these.
---@param kind? 'default'|'system'|'bundled'|'extra'  'default' when left out
---@return string[]
---@source Node.js tls.getCACertificates()
function trust.getCACertificates(kind)
  if kind == nil then
    kind = 'default'
  end
  errors.validate.string(kind, 'type')
  return list(KINDS[kind] and kind or error(errors.argValue('type', kind), 0))
end

local function pemOf(certs, i)
  local cert = certs[i]
  if class.isInstance(cert, x509.X509Certificate) then
    return cert:toString()
  elseif type(cert) ~= 'string' then
    error(errors.argType(('certs[%d]'):format(i), { 'string', 'X509Certificate' }, cert), 0)
  end
  return cert
end

--- Replaces what contexts trust that are built from now on and bring no `ca`. The system's authorities and the extra
--- ones go with the rest; an empty sequence trusts nobody. Contexts that exist keep what they have.
---
--- A string may hold any number of certificates. Raises ERR_INVALID_ARG_TYPE for anything but a sequence of strings or
--- X509Certificates, OpenSSL's error for a certificate that cannot be read (ERR_OSSL_PEM_ASN1_LIB, …) and
--- ERR_CRYPTO_OPERATION_FAILED when there is none in any of the strings; nothing has changed then.
---@param certs (string|crypto.X509Certificate)[]
---@source Node.js tls.setDefaultCACertificates()
function trust.setDefaultCACertificates(certs)
  local given = trust.sequence(certs)
  if type(given) ~= 'table' or class.isInstance(given, x509.X509Certificate) or #given == 0 and next(given) ~= nil then
    error(errors.argType('certs', 'Array', certs), 0)
  end
  local pems = {}
  for i = 1, #given do
    pems[i] = pemOf(given, i)
  end
  local ok, err = native.chooseTrust(pems)
  if not ok then
    error(err, 0)
  end
  lists.default = nil
end

-- A table could not be protected: the length operator and ipairs ask a table itself, never its metatable.
local view = newproxy(true)
local viewMetatable = getmetatable(view)
viewMetatable.__metatable = 'tls.rootCertificates'

function viewMetatable.__index(_, index)
  return list('bundled')[index]
end

function viewMetatable.__len()
  return #list('bundled')
end

function viewMetatable.__ipairs()
  return ipairs(list('bundled'))
end

function viewMetatable.__newindex(_, index)
  readOnly(("'%s' of tls.rootCertificates"):format(tostring(index)))
end

function viewMetatable.__tostring()
  return ('tls.rootCertificates: %d certificates'):format(#list('bundled'))
end

--- `value`, or the sequence behind it when it is tls.rootCertificates.
---@param value any
---@return any
function trust.sequence(value)
  return rawequal(value, view) and list('bundled') or value
end

--- Gives tls its functions and tls.rootCertificates: a view of the system's list, read when it is first looked into.
--- It has a length, entries and, where ipairs knows __ipairs, as in the program, a loop; it cannot be assigned to. For
--- unpack take getCACertificates 'bundled'.
---@param tls table
function trust.install(tls)
  tls.getCACertificates = trust.getCACertificates
  tls.setDefaultCACertificates = trust.setDefaultCACertificates
  setmetatable(tls, {
    __index = function(_, name)
      return name == 'rootCertificates' and view or nil
    end,
    __newindex = function(self, name, value)
      if name == 'rootCertificates' then
        readOnly "'rootCertificates' of tls"
      end
      rawset(self, name, value)
    end,
  })
end

return trust
