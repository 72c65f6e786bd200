--- Certificates for specs: authorities, leaves and everything that can be wrong with them, made in memory
--- while the spec runs.

local native = require 'moonlatch.native'
local process = require 'process'

local certificates = {}

local HOUR, DAY = 3600, 86400
-- A time smaller than this is relative to now, else it counts from 1970. (1e9 was in 2001.)
local ABSOLUTE_FROM = 1e9

-- Making an RSA key takes a tenth of a second, so keys are drawn from a pool that is filled on the way. It
-- holds enough of each kind that neighbours never get the same one: a spec that mixes two up must see them
-- differ.
local POOL_SIZE = 4
local pools = {}

-- Under valgrind it takes half a minute: there the pool is kept from one program to the next, in a directory.
local KEPT_IN = os.getenv 'MOONLATCH_SPEC_KEYS'

-- Universal tag numbers of ASN.1's string types (X.680, 8.4).
local STRING_TAGS = {
  UTF8 = 12, NUMERIC = 18, PRINTABLE = 19, T61 = 20, IA5 = 22, UNIVERSAL = 28, BMP = 30,
}

local ATTRIBUTE_ORDER = { 'C', 'ST', 'L', 'O', 'OU', 'CN' }

local PURPOSES = {
  server = 'serverAuth',
  client = 'clientAuth',
  both = 'serverAuth,clientAuth',
  ocsp = 'OCSPSigning',
}

local function must(value, err)
  if value == nil then
    error(err, 0)
  end
  return value
end

-- Another program may be keeping a key in the same place at this moment: whoever is last is right.
local function keep(path, key)
  local temporary = ('%s.%d'):format(path, process.pid)
  local file = assert(io.open(temporary, 'w'))
  file:write(must(key:export('pkcs8', false)))
  file:close()
  assert(os.rename(temporary, path))
end

local function makeKey(kind, place)
  if not (KEPT_IN and (kind:find '^rsa' or kind:find '^dsa')) then
    return must(native.makeKey(kind))
  end
  local path = ('%s/%s-%d.pem'):format(KEPT_IN, kind:gsub(':', '-'), place)
  local file = io.open(path)
  if file then
    local pem = file:read('*a')
    file:close()
    return must(native.privateKey(pem))
  end
  local key = must(native.makeKey(kind))
  keep(path, key)
  return key
end

local function pooled(kind)
  local pool = pools[kind]
  if not pool then
    pool = { next = 1 }
    pools[kind] = pool
  end
  local place = pool.next
  pool.next = place % POOL_SIZE + 1
  pool[place] = pool[place] or makeKey(kind, place)
  return pool[place]
end

-- `key` is a kind ("rsa:3072"), a PEM, or something made here whose key is to be used again.
local function chooseKey(options, default)
  local key = options.key or default
  if type(key) == 'table' then
    return key.handles.key
  end
  if key:find('-----BEGIN', 1, true) then
    return must(native.privateKey(key, options.keyPassphrase))
  end
  if options.bits then
    key = key .. ':' .. options.bits
  end
  return pooled(key)
end

local function list(value)
  if value == nil then
    return {}
  end
  return type(value) == 'table' and value or { value }
end

local function attribute(type_, value)
  if type(value) == 'string' then
    return { type = type_, value = value }
  end
  local tag = value.tag
  return { type = type_, value = value.value, joined = value.joined, tag = STRING_TAGS[tag] or tag }
end

local function addAttributes(out, type_, value)
  if value == nil then
    return
  end
  if type(value) == 'string' or value.value then
    out[#out + 1] = attribute(type_, value)
    return
  end
  for _, each in ipairs(value) do
    out[#out + 1] = attribute(type_, each)
  end
end

-- A subject is a sequence of { type, value } pairs (value a string, or { value=, tag=, joined= }), whose
-- order is kept, or a map from type to value or values.
local function subjectOf(options, cn)
  local out, subject = {}, options.subject
  if not subject then
    addAttributes(out, 'CN', cn)
    return out
  end
  if subject[1] then
    for _, pair in ipairs(subject) do
      out[#out + 1] = attribute(pair[1], pair[2])
    end
    return out
  end
  local known = {}
  for _, type_ in ipairs(ATTRIBUTE_ORDER) do
    known[type_] = true
    addAttributes(out, type_, subject[type_])
  end
  local others = {}
  for type_ in pairs(subject) do
    others[#others + 1] = not known[type_] and type_ or nil
  end
  table.sort(others)
  for _, type_ in ipairs(others) do
    addAttributes(out, type_, subject[type_])
  end
  if not subject.CN and options.cn then
    addAttributes(out, 'CN', options.cn)
  end
  return out
end

-- Authorities without a name of their own get different ones: of two with the same name, one over the other, a
-- verifier thinks that they are one (RFC 5280, 6.1: self-issued certificates).
local authorities = 0

local function authorityName(kind)
  authorities = authorities + 1
  return ('Spec %s CA %d'):format(kind, authorities)
end

local function looksLikeAddress(name)
  return name:find('^%d+%.%d+%.%d+%.%d+$') ~= nil or name:find('^[%x:]*:[%x:.]*$') ~= nil
end

local NAME_PREFIXES = { 'DNS', 'email', 'URI', 'IP', 'RID', 'dirName' }

-- 'localhost', '::1', 'URI:http://…', or { kind=, value=, … } as native.makeCertificate takes it.
local function altName(name)
  if type(name) == 'table' then
    local tag = name.tag
    return { kind = name.kind, value = name.value, oid = name.oid, tag = STRING_TAGS[tag] or tag }
  end
  for _, prefix in ipairs(NAME_PREFIXES) do
    if name:sub(1, #prefix + 1) == prefix .. ':' then
      return { kind = prefix, value = name:sub(#prefix + 2) }
    end
  end
  return { kind = looksLikeAddress(name) and 'IP' or 'DNS', value = name }
end

local function accessOf(options)
  local out = {}
  local function add(method, name)
    local location = altName(name)
    location.method = method
    out[#out + 1] = location
  end
  for _, uri in ipairs(list(options.ocspUri)) do
    add('OCSP', 'URI:' .. uri)
  end
  for _, uri in ipairs(list(options.caIssuersUri)) do
    add('caIssuers', 'URI:' .. uri)
  end
  for _, entry in ipairs(options.infoAccess or {}) do
    add(entry.method, entry)
  end
  return out
end

local function constraintValue(constraints)
  local parts = {}
  for _, kind in ipairs { 'permitted', 'excluded' } do
    for _, name in ipairs(list(constraints[kind])) do
      parts[#parts + 1] = kind .. ';' .. (name:find(':', 1, true) and name or 'DNS:' .. name)
    end
  end
  return 'critical,' .. table.concat(parts, ',')
end

local function keyUsageOf(options, isCA, key)
  if options.keyUsage ~= nil then
    return options.keyUsage
  end
  if isCA then
    return 'critical,keyCertSign,cRLSign,digitalSignature'
  end
  return key:type() == 'rsa' and 'critical,digitalSignature,keyEncipherment' or 'critical,digitalSignature'
end

local function extensionsOf(options, isCA, key, issued)
  local out = {}
  local function add(name, value)
    if value then
      out[#out + 1] = { name = name, value = value }
    end
  end
  if options.basicConstraints ~= false then
    local length = options.pathLength and ',pathlen:' .. options.pathLength or ''
    add('basicConstraints', isCA and 'critical,CA:TRUE' .. length or 'critical,CA:FALSE')
  end
  add('keyUsage', keyUsageOf(options, isCA, key))
  local purpose = options.purpose or (isCA and 'ca' or 'both')
  if purpose ~= 'ca' and purpose ~= 'none' then
    add('extendedKeyUsage', PURPOSES[purpose] or purpose)
  end
  add('subjectKeyIdentifier', 'hash')
  add('authorityKeyIdentifier', issued and 'keyid' or nil)
  add('nameConstraints', options.nameConstraints and constraintValue(options.nameConstraints))
  add('tlsfeature', options.mustStaple and 'status_request')
  if options.unknownCritical then
    out[#out + 1] = { name = '1.2.3.4.5.6.7.8', value = '\4\3odd', der = true, critical = true }
  end
  for _, extension in ipairs(options.extensions or {}) do
    out[#out + 1] = extension
  end
  return out
end

local function moment(value, default)
  value = value or default
  if math.abs(value) < ABSOLUTE_FROM then
    value = os.time() + value
  end
  return value
end

---@class moonlatch.spec.Identity
---@field cert string  PEM of its certificate
---@field key string  PEM of its private key
---@field chain string  PEM of its certificate and of the intermediate ones that issued it
---@field ca string  PEM of the root at the end of its chain (itself when self-signed)
---@field serialNumber string
---@field handles table  the native certificate and key
---@field issuer? moonlatch.spec.Identity
local Identity = {}
Identity.__index = Identity
Identity.__name = 'Identity'

function Identity:__tostring()
  return 'Identity: ' .. (self.handles.cert:subject() or '')
end

local function newIdentity(cert, key, issuer)
  local self = setmetatable({ handles = { cert = cert, key = key }, issuer = issuer }, Identity)
  self.cert = cert:pem()
  self.key = must(key:export('pkcs8', false))
  self.chain = self.cert .. (issuer and issuer.issuer and issuer.chain or '')
  self.ca = issuer and issuer.ca or self.cert
  self.serialNumber = cert:serial()
  return self
end

local function make(options, issuer, isCA, default)
  local key = chooseKey(options, default.key)
  local names = options.noSan and {} or options.names or default.names
  local plan = {
    key = key,
    issuer = issuer and issuer.handles.cert,
    issuerKey = issuer and issuer.handles.key,
    digest = options.digest,
    serial = options.serial,
    version = options.version,
    notBefore = moment(options.validFrom, -HOUR),
    notAfter = moment(options.validTo, 30 * DAY),
    subject = subjectOf(options, options.cn or options.name or default.cn or names[1]),
    names = {},
    namesCritical = options.namesCritical,
    access = accessOf(options),
    extensions = (options.version or 3) < 3 and {} or extensionsOf(options, isCA, key, issuer ~= nil),
    spoilSignature = options.spoilSignature,
  }
  for i, name in ipairs(names) do
    plan.names[i] = altName(name)
  end
  return newIdentity(must(native.makeCertificate(plan)), key, issuer)
end

local LEAF = { key = 'ec', names = { 'localhost', '127.0.0.1', '::1' } }

---@class moonlatch.spec.CertificateOptions
---@field names? (string|table)[]
---     subject alternative names: 'a.com', '::1', 'URI:…', 'email:…', or a table with kind ('DNS', 'email', 'URI',
---     'IP', 'IP bytes', 'RID', 'dirName', 'otherName'), value, oid and tag; localhost and its addresses by default
---@field noSan? boolean  no subject alternative names at all
---@field cn? string  common name; the first of names when left out
---@field subject? table
---     { CN = 'x', OU = { 'a', 'b' } } or { { 'CN', 'x' }, { 'O', { value=, tag=, joined= } } }
---@field key? string|moonlatch.spec.Identity
---     'ec[:P-384]', 'rsa[:3072]', 'rsa-pss', 'ed25519', 'ed448', 'dsa', a PEM, or another identity to share its key
---@field bits? integer
---@field validFrom? number  seconds from now, or since 1970 when that large; an hour ago when left out
---@field validTo? number  thirty days from now when left out
---@field purpose? 'server'|'client'|'both'|'ocsp'|'ca'|'none'|string
---     extended key usage; 'both' for a leaf
---@field keyUsage? string|false  x509v3_config(5) syntax
---@field isCA? boolean
---@field pathLength? integer
---@field basicConstraints? false  leaves the extension out
---@field nameConstraints? { permitted?: string|string[], excluded?: string|string[] }
---@field unknownCritical? boolean  adds a critical extension nobody knows
---@field mustStaple? boolean
---@field ocspUri? string|string[]
---@field caIssuersUri? string|string[]
---@field infoAccess? table[]  { method=, kind=, value= }
---@field extensions? table[]
---     { name=, value= } in x509v3_config(5) syntax, or { name=OID, value=, der=true, critical= }
---@field serial? string  hexadecimal digits
---@field digest? string  'SHA256' when left out
---@field version? integer  3 when left out; 1 has no extensions
---@field namesCritical? boolean
---@field spoilSignature? boolean  flips a bit of the signature

--- Issues a certificate. Any identity can, those that must not too.
---@param options? moonlatch.spec.CertificateOptions
---@return moonlatch.spec.Identity
function Identity:issue(options)
  options = options or {}
  return make(options, self, options.isCA or options.purpose == 'ca', LEAF)
end

--- Issues an intermediate authority.
---@param options? moonlatch.spec.CertificateOptions|{ name?: string }
---@return moonlatch.spec.Identity
function Identity:intermediate(options)
  return make(options or {}, self, true, { key = 'ec', names = {}, cn = authorityName('Intermediate') })
end

---@class moonlatch.spec.RevocationOptions
---@field revoked? (string|moonlatch.spec.Identity)[]  serial numbers, or what has them
---@field lastUpdate? number  as validFrom; an hour ago when left out
---@field nextUpdate? number  in a day when left out
---@field number? integer
---@field digest? string

--- A certificate revocation list.
---@param options? moonlatch.spec.RevocationOptions
---@return string pem
function Identity:crl(options)
  options = options or {}
  local serials = {}
  for i, revoked in ipairs(options.revoked or {}) do
    serials[i] = type(revoked) == 'string' and revoked or revoked.serialNumber
  end
  return must(native.makeRevocationList {
    issuer = self.handles.cert,
    issuerKey = self.handles.key,
    lastUpdate = moment(options.lastUpdate, -HOUR),
    nextUpdate = moment(options.nextUpdate, DAY),
    number = options.number,
    digest = options.digest,
    serials = serials,
  })
end

-- OCSPResponseStatus (RFC 6960, 4.2.1) and CRLReason (RFC 5280, 5.3.1).
local RESPONSE_STATUSES = {
  successful = 0, malformedRequest = 1, internalError = 2, tryLater = 3, sigRequired = 5, unauthorized = 6,
}
local REASONS = {
  unspecified = 0, keyCompromise = 1, cACompromise = 2, affiliationChanged = 3, superseded = 4,
  cessationOfOperation = 5, certificateHold = 6, removeFromCRL = 8,
}

---@class moonlatch.spec.OcspOptions
---@field status? 'good'|'revoked'|'unknown'  'good' when left out
---@field reason? string      of a revoked one: 'keyCompromise', …
---@field revokedAt? number   as validFrom; an hour ago when left out
---@field thisUpdate? number  an hour ago when left out
---@field nextUpdate? number|false  in a day when left out; false says nothing
---@field signer? moonlatch.spec.Identity  this authority itself when left out
---@field others? moonlatch.spec.Identity[]  certificates that the response is about before this one
---@field responseStatus? string  'successful' when left out
---@field idDigest? string    'SHA1' when left out
---@field nonce? string
---@field spoilSignature? boolean

--- An OCSP response about a certificate that this authority issued.
---@param identity moonlatch.spec.Identity
---@param options? moonlatch.spec.OcspOptions
---@return string der
function Identity:ocspResponse(identity, options)
  options = options or {}
  local signer = options.signer or self
  local statements = {}
  local function say(of)
    statements[#statements + 1] = {
      cert = of.handles.cert,
      issuer = self.handles.cert,
      status = options.status,
      reason = options.reason and REASONS[options.reason],
      revokedAt = moment(options.revokedAt, -HOUR),
      thisUpdate = moment(options.thisUpdate, -HOUR),
      nextUpdate = options.nextUpdate ~= false and moment(options.nextUpdate, DAY) or nil,
    }
  end
  for _, other in ipairs(options.others or {}) do
    say(other)
  end
  say(identity)
  return must(native.makeOcspResponse {
    responseStatus = RESPONSE_STATUSES[options.responseStatus or 'successful'],
    statements = statements,
    signer = signer.handles.cert,
    signerKey = signer.handles.key,
    idDigest = options.idDigest,
    nonce = options.nonce,
    spoilSignature = options.spoilSignature,
  })
end

--- A PKCS#12 file of the key, the certificate and everything that issued it.
---@param passphrase? string
---@return string der
function Identity:pfx(passphrase)
  local chain, issuer = {}, self.issuer
  while issuer do
    chain[#chain + 1] = issuer.handles.cert
    issuer = issuer.issuer
  end
  return must(native.makePfx(self.handles.key, self.handles.cert, chain, passphrase))
end

--- The private key, encrypted (PKCS#8, or with `own` the algorithm's own form).
---@param passphrase string
---@param own? boolean
---@return string pem
function Identity:encryptedKey(passphrase, own)
  return must(self.handles.key:export(own and 'own-private' or 'pkcs8', false, passphrase))
end

--- A root authority.
---@param options? moonlatch.spec.CertificateOptions|{ name?: string }
---@return moonlatch.spec.Identity
function certificates.ca(options)
  return make(options or {}, nil, true, { key = 'ec', names = {}, cn = authorityName('Root') })
end

--- A certificate that stands for itself.
---@param options? moonlatch.spec.CertificateOptions
---@return moonlatch.spec.Identity
function certificates.selfSigned(options)
  options = options or {}
  return make(options, nil, options.isCA or options.purpose == 'ca', LEAF)
end

return certificates
