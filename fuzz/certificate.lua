--- What has to hold of every certificate, however it was made: fuzz/certificate.c calls the function that this chunk
--- gives with the table of getPeerCertificate, the same with its chain, a native handle and the DER.
--- mayBe(host) is C's opinion of whom the certificate is for, taken from its decoded names.

require 'moonlatch.bootstrap'

local checkServerIdentity = require('moonlatch.tls.identity').checkServerIdentity
local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'
local native = require 'moonlatch.native'
local x509 = require 'moonlatch.crypto.x509'
local mayBe = _G.mayBe

assert(native.x509) -- what it names is made when it is asked for, and C pushes handles of that class

if jit then
  jit.off() -- a finding should not depend on what was run before it
end

local function same(a, b, what)
  if a ~= b then
    error(('%s: %q is not %q'):format(what, tostring(a), tostring(b)))
  end
end

-- Runs what may refuse; anything but an Error with a code is a finding.
local function attempt(fn, ...)
  local ok, result = pcall(fn, ...)
  if not ok and not (class.isInstance(result, errors.Error) and result.code) then
    error(result, 0)
  end
  return ok, result
end

local OPTIONAL_STRINGS = {
  'subjectaltname', 'modulus', 'exponent', 'pubkey', 'asn1Curve', 'nistCurve', 'valid_from', 'valid_to', 'serialNumber',
}

local function checkFields(cert, der)
  same(cert.raw, der, 'raw')
  same(type(cert.ca), 'boolean', 'ca')
  for _, field in ipairs { 'fingerprint', 'fingerprint256', 'fingerprint512' } do
    assert(cert[field]:find('^[%x:]+$'), field)
  end
  for _, field in ipairs(OPTIONAL_STRINGS) do
    local value = cert[field]
    assert(value == nil or type(value) == 'string', field)
  end
  for _, part in ipairs { 'subject', 'issuer' } do
    for name, value in pairs(cert[part] or {}) do
      assert(type(name) == 'string' and (type(value) == 'string' or #value > 1), part)
    end
  end
  for method, values in pairs(cert.infoAccess or {}) do
    assert(type(method) == 'string' and #values > 0, 'infoAccess')
  end
end

-- A chain of tables comes to an end, or to a certificate that is its own issuer.
local function checkChain(cert)
  for _ = 1, 200 do
    local issuer = cert.issuerCertificate
    if issuer == nil or issuer == cert then
      return
    end
    cert = issuer
  end
  error('a chain without an end')
end

local PROPERTIES = {
  'subject', 'issuer', 'infoAccess', 'validFromDate', 'validToDate', 'keyUsage', 'signatureAlgorithm',
  'signatureAlgorithmOid', 'issuerCertificate',
}

local function checkObject(object, cert)
  same(object.raw, cert.raw, 'raw')
  same(object.subjectAltName, cert.subjectaltname, 'subjectAltName')
  same(object.serialNumber, cert.serialNumber, 'serialNumber')
  same(object.fingerprint256, cert.fingerprint256, 'fingerprint256')
  same(object.ca, cert.ca, 'ca')
  same(object.validTo, cert.valid_to, 'validTo')
  same(object:toLegacyObject().fingerprint512, cert.fingerprint512, 'fingerprint512')
  for _, name in ipairs(PROPERTIES) do
    local _ = object[name]
  end
  same(x509.X509Certificate(object:toString()).raw, cert.raw, 'PEM')
  object:checkIssued(object)
  local ok, key = attempt(function() return object.publicKey end)
  if ok then
    local _ = key.asymmetricKeyDetails
    object:verify(key)
  end
end

-- Everything that somebody could take for a name: what follows a type, inside quotes as well as outside.
local function candidates(cert)
  local hosts, seen = {}, {}
  local function add(host)
    if host and host ~= '' and not seen[host] and #hosts < 40 then
      seen[host] = true
      hosts[#hosts + 1] = host
    end
  end
  local text = cert.subjectaltname or ''
  for _, type_ in ipairs { 'DNS:', 'IP Address:', 'URI:', 'email:', 'UPN:', 'CN ?=' } do
    for name in text:gmatch(type_ .. '"?([^,"\\]*)') do
      add(name)
      add((name:gsub('%*', 'a')))
    end
  end
  local names = cert.subject and cert.subject.CN
  for _, name in ipairs(type(names) == 'table' and names or { names }) do
    add(name)
    add((name:gsub('%*', 'a')))
    add(name:match('[^%s,=\n]*$'))
  end
  return hosts
end

-- Whoever is accepted has a name in the certificate, not only in the text made of it (CVE-2021-44532); and that
-- text can always be read.
local function checkIdentity(cert, object)
  for _, host in ipairs(candidates(cert)) do
    local problem = checkServerIdentity(host, cert)
    if problem == nil then
      assert(mayBe(host), ('%q is accepted for %q'):format(host, tostring(cert.subjectaltname)))
    else
      same(problem.code, 'ERR_TLS_CERT_ALTNAME_INVALID', host)
      same(problem.host, host:gsub('%.$', ''), 'host')
    end
    attempt(object.checkHost, object, host)
    attempt(object.checkEmail, object, host)
    attempt(object.checkIP, object, host)
  end
end

-- A plain name is not lost on the way.
local function checkPlain(cert)
  for name in (cert.subjectaltname or ''):gmatch('^DNS:([%w-]+%.[%w.-]*%l)$') do
    if not name:find('..', 1, true) then
      same(checkServerIdentity(name, cert), nil, name)
    end
  end
end

return function(cert, linked, handle, der)
  local object = x509.wrap(handle)
  checkFields(cert, der)
  checkChain(linked)
  checkObject(object, cert)
  checkIdentity(cert, object)
  checkPlain(cert)
end
