--- The options of tls.createSecureContext: the one list of what they are called, what they may be, and what the
--- native context is told.
local errors = require 'moonlatch.errors'
local constants = require 'constants'
local given = require 'moonlatch.tls.given'
local ticketKeys = require 'moonlatch.tls.ticket_keys'
local tls = require 'moonlatch.tls.namespace'
local trust = require 'moonlatch.tls.trust'

local validate, codes = errors.validate, errors.codes
local type, ipairs, pairs, next = type, ipairs, pairs, next

---@class tls.Key
---@field pem string  the key, or its PKCS#11 URI
---@field passphrase? string  what it is encrypted with (the token's PIN); options.passphrase when left out

---@class tls.Pfx
---@field buf string
---@field passphrase? string  options.passphrase when left out

--- What tls.createSecureContext takes, and with it tls.connect, tls.createServer, tls.TLSSocket, server:addContext and
--- server:setSecureContext. After Node's tls.createSecureContext(); `false` is the same as leaving an option out unless
--- it says otherwise.
---
--- Every option raises ERR_INVALID_ARG_TYPE with its name for a value of another type. What OpenSSL refuses raises an
--- Error with `code`, `library` and `reason` as OpenSSL has them; where several keys, certificates or files are given
--- the message says which one it was. A text with a null byte in it raises ERR_INVALID_ARG_VALUE where OpenSSL would
--- have dropped what follows.
---@class tls.ConnectOptions : tls.SecureContextOptions, net.ConnectOptions
---@field secureContext? tls.SecureContext  one that is ready, instead of options for one
---@field servername? string                to ask for, and to find in the certificate
---@field rejectUnauthorized? boolean       true when left out
---@field checkServerIdentity? fun(hostname: string, cert: table): Error?
---@field socket? Duplex                    to run over, instead of a connection of its own
---@field minDHSize? number                 bits
---@field ALPNProtocols? string[]|string
---@field NPNProtocols? string[]|string
---@field pskCallback? fun(hint?: string): table?
---@field session? string                   to resume
---@field enableTrace? boolean
---@field postHandshakeAuth? boolean
---@field requestOCSP? boolean

---@class tls.ServerOptions : tls.SecureContextOptions, net.ServerOptions
---@field secureContext? tls.SecureContext  one that is ready, instead of options for one
---@field requestCert? boolean
---@field rejectUnauthorized? boolean       true when left out
---@field SNICallback? fun(servername: string, callback: function, hello: tls.ClientHello): tls.SecureContext?
---@field ALPNProtocols? string[]|string
---@field ALPNCallback? fun(offer: table, callback: fun(err: any, protocol?: string)): string?
---@field NPNProtocols? string[]|string
---@field pskCallback? fun(socket: tls.TLSSocket, identity: string, callback: function): string?
---@field pskIdentityHint? string
---@field handshakeTimeout? number          milliseconds
---@field enableTrace? boolean

---@class tls.TLSSocketOptions : tls.ConnectOptions, tls.ServerOptions
---@field isServer? boolean
---@field server? tls.Server                whose contexts and listeners count

---@class tls.SecureContextOptions
---@field cert? string|string[]
---     Certificate chains in PEM, one per key: the certificate, then the intermediate ones that issued it, all in one
---     string. Chains of different kinds of key (RSA, RSA-PSS, DSA, EC, Ed25519, Ed448) are served by what the client's
---     signature algorithms allow; of each kind there can be one. "CERTIFICATE", "X509 CERTIFICATE" and "TRUSTED
---     CERTIFICATE" blocks are read (openssl-x509(1)). ERR_OSSL_PEM_NO_START_LINE: no certificate in it;
---     ERR_OSSL_X509_KEY_VALUES_MISMATCH: no key for one of several, or two of one kind; ERR_SSL_EE_KEY_TOO_SMALL,
---     ERR_SSL_CA_MD_TOO_WEAK …: below the security level (SSL_CTX_set_security_level(3)).
---@field key? string|(string|tls.Key)[]
---     Private keys in PEM, encrypted or not, in any order; or RFC 7512 PKCS#11 URIs ("pkcs11:token=…;object=…") of
---     keys that stay in their token: found with a provider for the scheme, or else with the engine "pkcs11".
---     ERR_OSSL_UNSUPPORTED: no key in it; ERR_OSSL_BAD_DECRYPT: a wrong passphrase or none;
---     ERR_OSSL_X509_KEY_VALUES_MISMATCH, ERR_OSSL_EVP_DIFFERENT_KEY_TYPES: it belongs to none of the certificates.
---@field passphrase? string
---     For every encrypted key, PKCS#12 file and token that brings none of its own. Nobody is ever asked on a terminal.
---@field pfx? string|tls.Pfx|(string|tls.Pfx)[]
---     PKCS#12 files (DER): a key with its certificate and chain, instead of or beside `cert` and `key`. The other
---     certificates in it are trusted, too. ERR_OSSL_PKCS12_MAC_VERIFY_FAILURE: a wrong passphrase;
---     ERR_CRYPTO_OPERATION_FAILED: no key or no certificate in it; ERR_CRYPTO_UNSUPPORTED_OPERATION: encrypted with
---     ciphers of OpenSSL's legacy provider, which is not loaded.
---@field ca? string|string[]
---     Authorities to trust instead of the system's, each string with any number of PEM blocks as in `cert`; an empty
---     list trusts nobody. A server also names them to its clients. ERR_OSSL_PEM_NO_START_LINE: no PEM.
---@field crl? string|string[]
---     Revocation lists in PEM. With any, each certificate of a chain needs the list of its issuer: UNABLE_TO_GET_CRL,
---     CERT_REVOKED and CRL_HAS_EXPIRED are what the handshake fails with.
---@field allowPartialTrustChain? boolean
---     Whether a chain may end at any trusted certificate and need not reach a self-signed one
---     (X509_V_FLAG_PARTIAL_CHAIN, X509_VERIFY_PARAM_set_flags(3)). false when left out.
---@field ciphers? string
---     Names of TLS 1.3 suites and of older ciphers in one list, in OpenSSL's syntax for the older ones (ciphers(1)),
---     "@SECLEVEL=n" included. tls.DEFAULT_CIPHERS when left out or empty. Older names alone leave TLS 1.3 with its own
---     suites, as in Node; suites alone make TLS 1.3 the minimum. "!TLS_…" rules a suite out. ERR_SSL_NO_CIPHER_MATCH:
---     none is known; ERR_INVALID_ARG_VALUE: there is no name in it.
---@field honorCipherOrder? boolean
---     Whether the server's order decides and not the client's (SSL_OP_CIPHER_SERVER_PREFERENCE). When left out, true
---     for tls.createServer, and what the server has it for a context that is chosen by name.
---@field ecdhCurve? string|false
---     Groups for the key exchange, by name, in order, with colons between them; 'auto' leaves it to OpenSSL; false
---     does without elliptic curves (DHE under TLS 1.2, RFC 7919's groups under TLS 1.3). tls.DEFAULT_ECDH_CURVE when
---     left out. ERR_CRYPTO_OPERATION_FAILED: OpenSSL does not know one of them.
---@field dhparam? string
---     Diffie-Hellman parameters in PEM for DHE under TLS 1.2, or 'auto' for well-known ones that fit the key. Without
---     it there is no DHE, and with a text that holds none neither. ERR_INVALID_ARG_VALUE: fewer than 1024 bits; fewer
---     than 2048 are a 'SecurityWarning'; ERR_SSL_DH_KEY_TOO_SMALL: below the security level.
---@field sigalgs? string
---     Signature algorithms, with colons between them, in order of preference (SSL_CTX_set1_sigalgs_list(3)).
---     OpenSSL's own when left out. ERR_CRYPTO_OPERATION_FAILED: it does not know one; ERR_INVALID_ARG_VALUE: empty.
---@field minVersion? 'TLSv1'|'TLSv1.1'|'TLSv1.2'|'TLSv1.3'
---     tls.DEFAULT_MIN_VERSION when left out. ERR_TLS_INVALID_PROTOCOL_VERSION: anything else;
---     ERR_TLS_PROTOCOL_VERSION_CONFLICT: together with secureProtocol. TLS 1.0 and 1.1 also need "@SECLEVEL=0".
---@field maxVersion? 'TLSv1'|'TLSv1.1'|'TLSv1.2'|'TLSv1.3'
---     tls.DEFAULT_MAX_VERSION when left out; errors as above.
---@field secureProtocol? string
---     The older way to choose versions, by the names of SSL_METHODS (ssl(7)): 'TLS_method' for all, 'SSLv23_method'
---     for tls.DEFAULT_MIN_VERSION to TLS 1.2, 'TLSv1_method', 'TLSv1_1_method', 'TLSv1_2_method' for one, each also as
---     _client_method and _server_method. ERR_TLS_INVALID_PROTOCOL_METHOD: SSLv2, SSLv3 or an unknown name.
---@field secureOptions? integer
---     A mask of SSL_OP_* from require 'constants' (SSL_CTX_set_options(3)). ERR_OUT_OF_RANGE: no integer.
---@field enableKTLS? boolean
---     Lets the kernel encrypt what is sent over TCP under TLS 1.3 where it can (SSL_OP_ENABLE_KTLS, by which
---     secureOptions may say so, too). Without a kernel that does nothing changes: socket:isKTLS. false when left out.
---@field sessionIdContext? string
---     At most 32 bytes that name the application to itself: a session resumes where they are the same. When left out
---     or empty they are derived from the program, its certificates and its trust.
---     ERR_SSL_SSL_SESSION_ID_CONTEXT_TOO_LONG: more than 32.
---@field sessionTimeout? integer
---     Seconds for which a session can be resumed; 0: not at all. 300 when left out, or what the server has where it
---     chooses the context by name. ERR_OUT_OF_RANGE: negative.
---@field ticketKeys? string|string[]
---     48 bytes that seal session tickets, shared by servers that are to resume each other's sessions; random when left
---     out. Of a list the first seal, and all open: see server:setTicketKeys. ERR_INVALID_ARG_VALUE: another
---     length.
---@field privateKeyEngine? string
---     An OpenSSL engine (its id, or the path of its shared object) that has the key privateKeyIdentifier.
---     ERR_INVALID_ARG_VALUE: without privateKeyIdentifier; ERR_CRYPTO_CUSTOM_ENGINE_NOT_SUPPORTED: an OpenSSL without
---     engines; else what OpenSSL says, such as ERR_OSSL_DSO_COULD_NOT_LOAD_THE_SHARED_LIBRARY.
---@field privateKeyIdentifier? string
---     What the engine calls the key, or a PKCS#11 URI, which needs no privateKeyEngine. ERR_INVALID_ARG_VALUE: beside
---     `key`, or without an engine.
---@field clientCertEngine? string
---     An OpenSSL engine that chooses the certificate when a server asks for one and the context has none. Errors as
---     for privateKeyEngine; ERR_SSL_NO_CLIENT_CERT_METHOD: the engine cannot.

local VERSIONS = {
  ['TLSv1'] = constants.TLS1_VERSION,
  ['TLSv1.1'] = constants.TLS1_1_VERSION,
  ['TLSv1.2'] = constants.TLS1_2_VERSION,
  ['TLSv1.3'] = constants.TLS1_3_VERSION,
}

-- SSL_METHODS by name: the range each one stands for (ssl(7)). SSLv23 is the oldest spelling of "any up to 1.2", and
-- begins where versions do that nobody chose.
local METHODS = {
  SSLv23 = { nil, constants.TLS1_2_VERSION },
  TLS = { 0, constants.TLS1_3_VERSION },
  TLSv1 = { constants.TLS1_VERSION, constants.TLS1_VERSION },
  TLSv1_1 = { constants.TLS1_1_VERSION, constants.TLS1_1_VERSION },
  TLSv1_2 = { constants.TLS1_2_VERSION, constants.TLS1_2_VERSION },
}

local function raise(err)
  error(err, 0)
end

local function checkText(name, value)
  if type(value) ~= 'string' then
    raise(errors.argType('options.' .. name, 'string', value))
  end
  return value
end

local function checkFlag(options, name)
  if options[name] ~= nil then
    validate.boolean(options[name], 'options.' .. name)
  end
end

-- A string, a list of strings, or a list of tables that hold the string under `field` with a passphrase; such a table
-- alone as well, where it is of PKCS#12.
local function blobs(name, value, field)
  value = trust.sequence(value)
  if type(value) ~= 'table' then
    return { checkText(name, value) }
  end
  if field == 'buf' and value.buf ~= nil then
    value = { value }
  end
  local list = {}
  for _, item in ipairs(value) do
    if field and type(item) == 'table' then
      local passphrase = item.passphrase
      if given(passphrase) then
        checkText(name .. '.passphrase', passphrase)
      end
      list[#list + 1] = { checkText(name .. '.' .. field, item[field]), given(passphrase) and passphrase or nil }
    elseif given(item) then
      list[#list + 1] = checkText(name, item)
    end
  end
  if #list == 0 and next(value) ~= nil and value[1] ~= false then
    raise(errors.argType('options.' .. name, 'string', value))
  end
  return list
end

---@param which 'minimum'|'maximum'
local function version(which, value, default)
  if value == nil then
    value = default
  end
  return VERSIONS[value] or raise(codes.ERR_TLS_INVALID_PROTOCOL_VERSION(tostring(value), which))
end

local function protocolRange(options, target)
  local method = options.secureProtocol
  if not given(method) then
    target.minVersion = version('minimum', options.minVersion, tls.DEFAULT_MIN_VERSION)
    target.maxVersion = version('maximum', options.maxVersion, tls.DEFAULT_MAX_VERSION)
    return
  end
  checkText('secureProtocol', method)
  if options.minVersion ~= nil then
    raise(codes.ERR_TLS_PROTOCOL_VERSION_CONFLICT(options.minVersion, method))
  elseif options.maxVersion ~= nil then
    raise(codes.ERR_TLS_PROTOCOL_VERSION_CONFLICT(options.maxVersion, method))
  end
  local name = method:match('^(.-)_client_method$') or method:match('^(.-)_server_method$')
    or method:match('^(.-)_method$')
  if name == 'SSLv2' or name == 'SSLv3' then
    raise(codes.ERR_TLS_INVALID_PROTOCOL_METHOD(name .. ' methods disabled'))
  end
  local range = METHODS[name]
  if not range then
    raise(codes.ERR_TLS_INVALID_PROTOCOL_METHOD('Unknown method: ' .. method))
  end
  target.minVersion, target.maxVersion = range[1], range[2]
  if not target.minVersion then
    target.minVersion = version('minimum', nil, tls.DEFAULT_MIN_VERSION)
  end
end

-- What OpenSSL offers of TLS 1.3 when it is not told (SSL_CTX_set_ciphersuites(3)).
local DEFAULT_SUITES = { 'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256', 'TLS_AES_128_GCM_SHA256' }

-- OpenSSL passes over a suite that is ruled out in its list of suites: it must not be in there.
local function without(suites, ruledOut)
  local kept = {}
  for _, name in ipairs(#suites > 0 and suites or DEFAULT_SUITES) do
    if not ruledOut[name] then
      kept[#kept + 1] = name
    end
  end
  return kept
end

-- One list with the names of both worlds becomes the two lists that OpenSSL wants: TLS 1.3's suites all begin with
-- "TLS_". Naming only older ciphers leaves the suites as they are, naming only suites rules out the older protocols.
local function ciphers(options, target)
  local list = options.ciphers
  if given(list) then
    checkText('ciphers', list)
  end
  if not given(list) or list == '' then
    list = tls.DEFAULT_CIPHERS
  end
  local older, suites, ruledOut, named = {}, {}, {}, false
  for name in list:gmatch('[^:,; ]+') do
    if name:find('^!TLS_') then
      ruledOut[name:sub(2)] = true
    elseif name:find('^TLS_') then
      suites[#suites + 1] = name
    else
      older[#older + 1] = name
      named = named or not name:find('^[@!+-]')
    end
  end
  if next(ruledOut) then
    suites = without(suites, ruledOut)
  end
  if #older == 0 and #suites == 0 then
    raise(errors.argValue('options.ciphers', list))
  end
  target.ciphers = table.concat(older, ':')
  target.cipherSuites = (#suites > 0 or next(ruledOut)) and table.concat(suites, ':') or nil
  local v12, v13 = VERSIONS['TLSv1.2'], VERSIONS['TLSv1.3']
  if not named and target.minVersion < v13 and target.maxVersion > v12 then
    target.minVersion = v13
  end
end

-- Key exchange over finite fields alone (RFC 7919), for a script that wants no elliptic curves.
local NO_CURVES = 'ffdhe2048:ffdhe3072:ffdhe4096:ffdhe6144:ffdhe8192'

local function groups(options, target)
  local curve = options.ecdhCurve
  if curve == nil then
    curve = tls.DEFAULT_ECDH_CURVE
  end
  if curve == false then
    target.groups = NO_CURVES
    target.ciphers = target.ciphers ~= '' and target.ciphers .. ':!kEECDH' or ''
    return
  end
  checkText('ecdhCurve', curve)
  if curve ~= 'auto' and curve ~= '' then
    target.groups = curve
  end
end

local function dhparam(options, target)
  local value = options.dhparam
  if not given(value) then
    return
  end
  checkText('dhparam', value)
  if value == 'auto' then
    target.dhAuto = true
  else
    target.dhparam = value
  end
end

-- The bit that the older way of saying so has in the mask.
local FLAGS = {
  honorCipherOrder = constants.SSL_OP_CIPHER_SERVER_PREFERENCE,
  enableKTLS = constants.SSL_OP_ENABLE_KTLS,
}

local function bitmask(options, target)
  local value = options.secureOptions
  if given(value) then
    -- What bit.bor makes of a mask with the 32nd bit set is negative.
    validate.integer(value, 'options.secureOptions', -2 ^ 31)
    target.setOptions = value < 0 and value + 2 ^ 32 or value
  end
  for name, mask in pairs(FLAGS) do
    checkFlag(options, name)
    local set = target.setOptions or 0
    -- An inclusive or by hand: bit operations stop at 32 bits.
    if options[name] and math.floor(set / mask) % 2 == 0 then
      target.setOptions = set + mask
    end
  end
  if options.honorCipherOrder == nil then
    target.leftOptions = FLAGS.honorCipherOrder
  end
end

local function sessions(options, target)
  if given(options.sessionIdContext) then
    target.sessionIdContext = checkText('sessionIdContext', options.sessionIdContext)
  end
  if given(options.ticketKeys) then
    target.ticketKeys = ticketKeys.join(options.ticketKeys, 'options.ticketKeys')
  end
  if options.sessionTimeout ~= nil then
    validate.integer(options.sessionTimeout, 'options.sessionTimeout', 0, 2 ^ 31 - 1)
    -- To the native context zero is "not given".
    target.sessionTimeout = options.sessionTimeout > 0 and options.sessionTimeout or -1
  end
end

local function texts(options, target)
  for _, name in ipairs { 'passphrase', 'sigalgs' } do
    local value = options[name]
    if given(value) then
      target[name] = checkText(name, value)
    end
  end
  if target.sigalgs == '' then
    raise(errors.argValue('options.sigalgs', ''))
  end
end

local HARDWARE = {
  keyEngine = 'privateKeyEngine', keyIdentifier = 'privateKeyIdentifier', clientCertEngine = 'clientCertEngine',
}

-- Keys and certificates that OpenSSL's engines have, or a token behind PKCS#11.
local function hardware(options, target)
  for key, name in pairs(HARDWARE) do
    if given(options[name]) then
      target[key] = checkText(name, options[name])
    end
  end
  local engine, identifier = target.keyEngine, target.keyIdentifier
  if engine and not identifier then
    raise(errors.argValue('options.privateKeyIdentifier', options.privateKeyIdentifier))
  elseif not identifier then
    return
  elseif not engine and not identifier:find('^pkcs11:') then
    raise(errors.argValue('options.privateKeyEngine', options.privateKeyEngine))
  elseif given(options.key) then
    raise(errors.argValue('options.privateKeyIdentifier', identifier))
  end
end

-- These end at their first NUL for OpenSSL: what follows would be dropped without a word.
local C_STRINGS = {
  passphrase = 'passphrase', ciphers = 'ciphers', cipherSuites = 'ciphers', groups = 'ecdhCurve', sigalgs = 'sigalgs',
  keyEngine = 'privateKeyEngine', keyIdentifier = 'privateKeyIdentifier', clientCertEngine = 'clientCertEngine',
}

local function checkNuls(target)
  for key, name in pairs(C_STRINGS) do
    if target[key] then
      validate.cString(target[key], 'options.' .. name)
    end
  end
  for _, name in ipairs { 'key', 'pfx' } do
    for _, item in ipairs(target[name] or {}) do
      if type(item) == 'table' and item[2] then
        validate.cString(item[2], 'options.' .. name .. '.passphrase')
      end
    end
  end
  -- PEM may hold anything between its blocks; a PKCS#11 URI may not.
  for _, item in ipairs(target.key or {}) do
    local text = type(item) == 'table' and item[1] or item
    if text:find('^pkcs11:') then
      validate.cString(text, 'options.key')
    end
  end
end

local M = {}

--- What the native side takes for an option that may be left out (enum ml_tls_says).
---@param value? boolean
---@return integer?
function M.says(value)
  if value == nil then
    return nil
  end
  return value and 2 or 1
end

--- Whom to ask for a certificate and whether to insist on a good one: nothing to guess about, so a value that is
--- merely true or merely false raises.
---@param options table
function M.checkPolicy(options)
  checkFlag(options, 'requestCert')
  checkFlag(options, 'rejectUnauthorized')
end

--- Checks the script's options and copies them into what the native context takes. Raises at the first that is wrong.
---@param options tls.SecureContextOptions
---@return table
function M.read(options)
  validate.table(options, 'options')
  local target = { ownTrust = given(options.ca) }
  for _, name in ipairs { 'cert', 'ca', 'crl' } do
    if given(options[name]) then
      target[name] = blobs(name, options[name])
    end
  end
  if given(options.key) then
    target.key = blobs('key', options.key, 'pem')
  end
  if given(options.pfx) then
    target.pfx = blobs('pfx', options.pfx, 'buf')
  end
  protocolRange(options, target)
  ciphers(options, target)
  groups(options, target)
  dhparam(options, target)
  bitmask(options, target)
  texts(options, target)
  hardware(options, target)
  sessions(options, target)
  checkFlag(options, 'allowPartialTrustChain')
  target.partialChain = options.allowPartialTrustChain == true
  M.checkPolicy(options)
  target.requestCert = M.says(options.requestCert)
  target.rejectUnauthorized = M.says(options.rejectUnauthorized)
  checkNuls(target)
  return target
end

return M
