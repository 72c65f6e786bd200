--- crypto.ocsp: what an OCSP responder is asked about a certificate, and what its answer says (RFC 6960). How the bytes
--- travel is the script's business: a POST over HTTP, a file, a staple.

local errors = require 'moonlatch.errors'
local native = require 'moonlatch.native'
local random = require 'moonlatch.crypto.random'
local x509 = require 'moonlatch.crypto.x509'

local validate = errors.validate

local NONCE_SIZE, NONCE_MAX = 32, 128 -- bytes (RFC 9654, 2.1)

---@class crypto.ocsp
local ocsp = {}

local function optionsOf(options)
  return options == nil and {} or validate.table(options, 'options')
end

local function checkNonce(nonce)
  validate.string(nonce, 'options.nonce')
  if #nonce < 1 or #nonce > NONCE_MAX then
    error(errors.range('options.nonce', ('a string of 1 to %d bytes'):format(NONCE_MAX), nonce), 0)
  end
  return nonce
end

---@class crypto.ocsp.Request
---@field der string     the body of the POST
---@field url? string    the responder that the certificate names
---@field id string      who is asked about, DER of the CertID: a key to keep responses under
---@field nonce? string  for parse

--- What to ask a responder about `certificate`. With `options.nonce` the response has to be made for this request: true
--- makes a random one. (Many responders keep responses ready and put no nonce into them.)
---
--- Raises ERR_INVALID_ARG_TYPE, ERR_OUT_OF_RANGE for a nonce of more than 128 bytes, OpenSSL's error for what is no
--- certificate, and SUBJECT_ISSUER_MISMATCH and its kin when `issuer` cannot have issued it.
---@param certificate string|crypto.X509Certificate  PEM or DER
---@param issuer string|crypto.X509Certificate
---@param options? { nonce?: boolean|string }
---@return crypto.ocsp.Request
---@source RFC 6960, 4.1
function ocsp.request(certificate, issuer, options)
  local subject = x509.handle(certificate, 'certificate')
  local authority = x509.handle(issuer, 'issuer')
  local nonce = optionsOf(options).nonce or nil
  if nonce ~= nil then
    nonce = nonce == true and random.randomBytes(NONCE_SIZE) or checkNonce(nonce)
  end
  local der, id, url = native.ocspRequest(subject, authority, nonce)
  if not der then
    error(id, 0)
  end
  return { der = der, id = id, url = url, nonce = nonce }
end

---@class crypto.ocsp.Response
---@field responseStatus 'successful'|'malformedRequest'|'internalError'|'tryLater'|'sigRequired'|'unauthorized'
---@field status? 'good'|'revoked'|'unknown'  nil when the response says nothing of the certificate
---@field serialNumber? string        of the certificate it is about, hexadecimal
---@field thisUpdate? string          "Aug 14 00:00:00 2017 GMT"
---@field thisUpdateDate? integer     the same in seconds since 1970
---@field nextUpdate? string          nil when the responder has news at any time
---@field nextUpdateDate? integer
---@field producedAt? string          when it was signed
---@field producedAtDate? integer
---@field revocationTime? string
---@field revocationTimeDate? integer
---@field revocationReason? string    "keyCompromise", …
---@field verified boolean            may be relied on now
---@field verifyError? Error          why not

--- What a response says. It is `verified` when it was signed by `issuer` or by a responder with a certificate for
--- OCSPSigning from `issuer` itself, is current (give or take five minutes), is about `options.certificate` and has
--- `options.nonce`, where these are given. Without `issuer` nothing is ever verified.
---
--- Raises ERR_INVALID_ARG_TYPE, OpenSSL's error for what is no certificate, and ERR_OCSP_MALFORMED_RESPONSE for what is
--- no response. All that is wrong with one that can be read is `verifyError`.
---@param response string  DER
---@param issuer? string|crypto.X509Certificate  who issued the certificate, PEM or DER
---@param options? { certificate?: string|crypto.X509Certificate, nonce?: string }
---@return crypto.ocsp.Response
---@source RFC 6960, 4.2
function ocsp.parse(response, issuer, options)
  validate.string(response, 'response')
  options = optionsOf(options)
  local authority = issuer ~= nil and x509.handle(issuer, 'issuer') or nil
  local subject = options.certificate ~= nil and x509.handle(options.certificate, 'options.certificate') or nil
  local nonce = options.nonce ~= nil and checkNonce(options.nonce) or nil
  local result, err = native.ocspRead(response, authority, subject, nonce)
  if not result then
    error(err, 0)
  end
  return result
end

return ocsp
