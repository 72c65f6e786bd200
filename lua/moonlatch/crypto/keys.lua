--- Keys as objects: crypto.createPrivateKey, createPublicKey, createSecretKey, and X509Certificate's
--- publicKey.

local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'
local native = require 'moonlatch.native'

local validate = errors.validate

local keys = {}

---@class crypto.KeyObject
---@field type 'private'|'public'|'secret'
---@field asymmetricKeyType? string      'rsa', 'rsa-pss', 'dsa', 'ec', 'ed25519', …
---@field asymmetricKeyDetails? table    modulusLength, publicExponent, divisorLength, namedCurve, …
---@field symmetricKeySize? integer      bytes of a secret key
local KeyObject = class('KeyObject')
keys.KeyObject = KeyObject

--- Not for scripts, which get keys from createPrivateKey and its kin.
---
--- Raises ERR_ILLEGAL_CONSTRUCTOR.
---@source Node.js crypto.KeyObject
function KeyObject:init()
  error(errors.codes.ERR_ILLEGAL_CONSTRUCTOR(), 0)
end

--- Wraps a native key.
---@param handle userdata
---@return crypto.KeyObject
function keys.wrap(handle)
  local self = setmetatable({ _handle = handle }, KeyObject.metatable)
  self.type = handle:isPrivate() and 'private' or 'public'
  self.asymmetricKeyType = handle:type()
  return self
end

class.getter(KeyObject, 'asymmetricKeyDetails', function(self)
  if not self._handle then
    return nil
  end
  local details = self._handle:details()
  -- A BigInt in Node: a number wherever a double holds it.
  details.publicExponent = tonumber(details.publicExponent)
  rawset(self, 'asymmetricKeyDetails', details)
  return details
end)

-- Encodings by type of key: what native's export calls them.
local FORMS = {
  private = { pkcs8 = 'pkcs8', pkcs1 = 'own-private', sec1 = 'own-private' },
  public = { spki = 'spki', pkcs1 = 'own-public' },
}
local ONLY_FOR = { pkcs1 = { 'rsa', 'RSA' }, sec1 = { 'ec', 'EC' } }

local function checkForm(self, options)
  if options.format ~= 'pem' and options.format ~= 'der' then
    error(errors.argValue('options.format', options.format), 0)
  end
  local form = FORMS[self.type][options.type]
  if not form then
    error(errors.argValue('options.type', options.type), 0)
  end
  local only = ONLY_FOR[options.type]
  if only and self.asymmetricKeyType ~= only[1] then
    error(errors.coded(errors.Error, 'ERR_CRYPTO_INCOMPATIBLE_KEY_OPTIONS',
      ('The selected key encoding %s can only be used for %s keys.'):format(options.type, only[2])), 0)
  end
  return form
end

--- The key as PEM or DER: { type = 'spki'|'pkcs8'|'pkcs1'|'sec1', format = 'pem'|'der' }. A private key is
--- encrypted with AES-256-CBC when there is a passphrase. A secret key is given as it is.
---
--- Raises ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE for an unknown type or format, and
--- ERR_CRYPTO_INCOMPATIBLE_KEY_OPTIONS for a form that is another algorithm's.
---@param options? { type: string, format: string, passphrase?: string }
---@return string
---@source Node.js keyObject.export()
function KeyObject:export(options)
  if self.type == 'secret' then
    return self._secret
  end
  validate.table(options, 'options')
  local form = checkForm(self, options)
  local passphrase = options.passphrase
  if passphrase ~= nil then
    validate.string(passphrase, 'options.passphrase')
    if self.type == 'public' then
      passphrase = nil
    end
  end
  local bytes, err = self._handle:export(form, options.format == 'der', passphrase)
  if not bytes then
    error(err, 0)
  end
  return bytes
end

--- Whether both are the same key of the same type.
---
--- Raises ERR_INVALID_ARG_TYPE for anything but a KeyObject.
---@param other crypto.KeyObject
---@return boolean
---@source Node.js keyObject.equals()
function KeyObject:equals(other)
  if not class.isInstance(other, KeyObject) then
    error(errors.argType('otherKeyObject', 'KeyObject', other), 0)
  elseif other.type ~= self.type then
    return false
  elseif self.type == 'secret' then
    return #self._secret == #other._secret and native.constantTimeEqual(self._secret, other._secret)
  end
  return self._handle:equals(other._handle)
end

-- A PEM or DER string, or { key=, passphrase= }.
local function keyArguments(key, name)
  local data, passphrase = key, nil
  if type(key) == 'table' and not class.isInstance(key, KeyObject) then
    data, passphrase = key.key, key.passphrase
    name = name .. '.key'
    if passphrase ~= nil then
      validate.string(passphrase, 'key.passphrase')
    end
  end
  if type(data) ~= 'string' then
    error(errors.argType(name, { 'string', 'KeyObject' }, data), 0)
  end
  return data, passphrase
end

--- Reads a private key.
---
--- Raises ERR_INVALID_ARG_TYPE, and OpenSSL's error for what cannot be read (ERR_OSSL_UNSUPPORTED) or opened
--- (ERR_OSSL_BAD_DECRYPT).
---@param key string|{ key: string, passphrase?: string }
---@return crypto.KeyObject
---@source Node.js crypto.createPrivateKey()
function keys.createPrivateKey(key)
  local handle, err = native.privateKey(keyArguments(key, 'key'))
  if not handle then
    error(err, 0)
  end
  return keys.wrap(handle)
end

--- Reads a public key, or takes that of a certificate or of a private key.
---
--- Raises ERR_INVALID_ARG_TYPE, and OpenSSL's error for what cannot be read.
---@param key string|{ key: string, passphrase?: string }|crypto.KeyObject
---@return crypto.KeyObject
---@source Node.js crypto.createPublicKey()
function keys.createPublicKey(key)
  if class.isInstance(key, KeyObject) and key.type == 'private' then
    return keys.wrap(key._handle:public())
  end
  local handle, err = native.publicKey(keyArguments(key, 'key'))
  if not handle then
    error(err, 0)
  end
  return keys.wrap(handle)
end

--- A secret for createHmac.
---
--- Raises ERR_INVALID_ARG_TYPE.
---@param secret string
---@return crypto.KeyObject
---@source Node.js crypto.createSecretKey()
function keys.createSecretKey(secret)
  validate.string(secret, 'key')
  return setmetatable({ type = 'secret', symmetricKeySize = #secret, _secret = secret }, KeyObject.metatable)
end

--- The bytes of a secret, given as a string or as a KeyObject.
---@param key string|crypto.KeyObject
---@return string
function keys.secretBytes(key)
  if class.isInstance(key, KeyObject) then
    if key.type ~= 'secret' then
      error(errors.coded(errors.TypeError, 'ERR_CRYPTO_INVALID_KEY_OBJECT_TYPE',
        ('Invalid key object type %s, expected secret.'):format(key.type)), 0)
    end
    return key._secret
  elseif type(key) ~= 'string' then
    error(errors.argType('key', { 'string', 'KeyObject' }, key), 0)
  end
  return key
end

return keys
