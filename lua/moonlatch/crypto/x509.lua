--- crypto.X509Certificate.

local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'
local keys = require 'moonlatch.crypto.keys'
local native = require 'moonlatch.native'

local validate = errors.validate

local x509 = {}

---@class crypto.X509Certificate
---@field subject string             one line per relative name: "C=US\nCN=host"
---@field issuer string
---@field subjectAltName? string     "DNS:a.com, IP Address:1.2.3.4"
---@field infoAccess? string         "OCSP - URI:http://…", one per line
---@field validFrom string           "Aug 14 00:00:00 2017 GMT"
---@field validTo string
---@field validFromDate integer      seconds since 1970
---@field validToDate integer
---@field fingerprint string         SHA-1, "AB:CD:…"
---@field fingerprint256 string
---@field fingerprint512 string
---@field keyUsage? string[]         object identifiers of the extended key usage
---@field serialNumber string        hexadecimal
---@field signatureAlgorithm? string
---@field signatureAlgorithmOid string
---@field publicKey crypto.KeyObject
---@field raw string                 DER
---@field ca boolean
---@field issuerCertificate? crypto.X509Certificate  where the peer sent it
---@overload fun(certificate: string): crypto.X509Certificate
local X509Certificate = class('X509Certificate')
x509.X509Certificate = X509Certificate

local function readHandle(certificate)
  local handle, err = native.x509(certificate)
  if not handle then
    error(err, 0)
  end
  return handle
end

--- Reads a certificate, PEM or DER.
---
--- Raises ERR_INVALID_ARG_TYPE, and OpenSSL's error for what is no certificate: ERR_OSSL_PEM_NO_START_LINE and others.
---@param certificate string
---@source Node.js crypto.X509Certificate
function X509Certificate:init(certificate)
  if type(certificate) ~= 'string' then
    error(errors.argType('buffer', 'string', certificate), 0)
  end
  self._handle = readHandle(certificate)
end

--- Wraps a native certificate.
---@param handle userdata
---@return crypto.X509Certificate
function x509.wrap(handle)
  return setmetatable({ _handle = handle }, X509Certificate.metatable)
end

--- The native certificate of an X509Certificate, or of PEM or DER.
---
--- Raises ERR_INVALID_ARG_TYPE with the argument's name, and OpenSSL's error for what is no certificate.
---@param certificate string|crypto.X509Certificate
---@param argument string
---@return userdata
function x509.handle(certificate, argument)
  if class.isInstance(certificate, X509Certificate) then
    return certificate._handle
  elseif type(certificate) ~= 'string' then
    error(errors.argType(argument, { 'string', 'X509Certificate' }, certificate), 0)
  end
  return readHandle(certificate)
end

local function first(method, ...)
  local arguments = { ... }
  return function(handle)
    return (handle[method](handle, unpack(arguments)))
  end
end

local function nth(method, n)
  return function(handle)
    return (select(n, handle[method](handle)))
  end
end

local PROPERTIES = {
  subject = first('subject'),
  issuer = first('issuer'),
  subjectAltName = first('subjectAltName'),
  infoAccess = first('infoAccess'),
  validFrom = nth('validity', 1),
  validTo = nth('validity', 2),
  validFromDate = nth('validity', 3),
  validToDate = nth('validity', 4),
  fingerprint = first('fingerprint', 'SHA1'),
  fingerprint256 = first('fingerprint', 'SHA256'),
  fingerprint512 = first('fingerprint', 'SHA512'),
  keyUsage = first('purposes'),
  serialNumber = first('serial'),
  signatureAlgorithm = nth('signatureAlgorithm', 1),
  signatureAlgorithmOid = nth('signatureAlgorithm', 2),
  raw = first('raw'),
  ca = first('isCA'),
}

function PROPERTIES.publicKey(handle)
  local key, err = handle:publicKey()
  if not key then
    error(err, 0)
  end
  return keys.wrap(key)
end

function PROPERTIES.issuerCertificate(handle)
  local issuer = handle:issuerCertificate()
  return issuer and x509.wrap(issuer) or nil
end

-- What was read once is kept as a field, which hides the getter.
for name, read in pairs(PROPERTIES) do
  class.getter(X509Certificate, name, function(self)
    local value = read(self._handle)
    rawset(self, name, value)
    return value
  end)
end

local FLAGS = {
  { 'wildcards', true },
  { 'partialWildcards', true },
  { 'multiLabelWildcards', false },
  { 'singleLabelSubdomains', false },
}

-- The arguments that the native checks take after the name.
local function checkArguments(options)
  if options == nil then
    return 'default', true, true, false, false
  end
  validate.table(options, 'options')
  local subject = options.subject == nil and 'default' or options.subject
  validate.string(subject, 'options.subject')
  local values = {}
  for i, flag in ipairs(FLAGS) do
    values[i] = flag[2]
    if options[flag[1]] ~= nil then
      values[i] = validate.boolean(options[flag[1]], 'options.' .. flag[1])
    end
  end
  if subject ~= 'default' and subject ~= 'always' and subject ~= 'never' then
    error(errors.argValue('options.subject', subject), 0)
  end
  return subject, unpack(values, 1, #FLAGS)
end

local function checkResult(result, text)
  if result == nil then
    error(errors.coded(errors.TypeError, 'ERR_INVALID_ARG_VALUE', text), 0)
  end
  return result or nil
end

---@class crypto.CheckOptions
---@field subject? 'default'|'always'|'never'   when the subject counts besides the alternative names
---@field wildcards? boolean                    true when left out
---@field partialWildcards? boolean             true when left out
---@field multiLabelWildcards? boolean
---@field singleLabelSubdomains? boolean

--- The name in the certificate that matches `name`, or nil. (tls.checkServerIdentity is what connections
--- use.)
---
--- Raises ERR_INVALID_ARG_TYPE, and ERR_INVALID_ARG_VALUE for a name that can be none.
---@param name string
---@param options? crypto.CheckOptions
---@return string?
---@source Node.js x509.checkHost()
function X509Certificate:checkHost(name, options)
  validate.string(name, 'name')
  return checkResult(self._handle:checkHost(name, checkArguments(options)), 'Invalid name')
end

--- The mail address itself when the certificate has it, or nil.
---
--- Raises ERR_INVALID_ARG_TYPE, and ERR_INVALID_ARG_VALUE for an address that can be none.
---@param email string
---@param options? crypto.CheckOptions
---@return string?
---@source Node.js x509.checkEmail()
function X509Certificate:checkEmail(email, options)
  validate.string(email, 'email')
  return checkResult(self._handle:checkEmail(email, checkArguments(options)), 'Invalid name')
end

--- The IP address itself when the certificate has it, or nil.
---
--- Raises ERR_INVALID_ARG_TYPE, and ERR_INVALID_ARG_VALUE for what is no address.
---@param address string
---@param options? crypto.CheckOptions
---@return string?
---@source Node.js x509.checkIP()
function X509Certificate:checkIP(address, options)
  validate.string(address, 'ip')
  return checkResult(self._handle:checkIP(address, checkArguments(options)), 'Invalid IP')
end

--- May `other` have issued this certificate? Names and extensions are compared; verify checks the signature.
---
--- Raises ERR_INVALID_ARG_TYPE for anything but an X509Certificate.
---@param other crypto.X509Certificate
---@return boolean
---@source Node.js x509.checkIssued()
function X509Certificate:checkIssued(other)
  if not class.isInstance(other, X509Certificate) then
    error(errors.argType('otherCert', 'X509Certificate', other), 0)
  end
  return self._handle:checkIssued(other._handle)
end

local function checkKey(key, kind)
  if not class.isInstance(key, keys.KeyObject) then
    error(errors.argType('pkey', 'KeyObject', key), 0)
  elseif key.type ~= kind then
    error(errors.argValue('pkey', key), 0)
  end
  return key._handle
end

--- Is it the certificate of this private key?
---
--- Raises ERR_INVALID_ARG_TYPE for anything but a KeyObject, ERR_INVALID_ARG_VALUE for one that is not private.
---@param key crypto.KeyObject
---@return boolean
---@source Node.js x509.checkPrivateKey()
function X509Certificate:checkPrivateKey(key)
  return self._handle:checkPrivateKey(checkKey(key, 'private'))
end

--- Was it signed with the private half of this public key? Nothing else is checked.
---
--- Raises ERR_INVALID_ARG_TYPE for anything but a KeyObject, ERR_INVALID_ARG_VALUE for one that is not public.
---@param key crypto.KeyObject
---@return boolean
---@source Node.js x509.verify()
function X509Certificate:verify(key)
  return self._handle:verify(checkKey(key, 'public'))
end

--- The certificate as PEM.
---@return string
---@source Node.js x509.toString()
function X509Certificate:toString()
  return self._handle:pem()
end

X509Certificate.toJSON = X509Certificate.toString
X509Certificate.metatable.__tostring = X509Certificate.toString

--- The certificate as the table that getPeerCertificate() gives.
---@return table
---@source Node.js x509.toLegacyObject()
function X509Certificate:toLegacyObject()
  return self._handle:legacy()
end

return x509
