-- A context that a server chooses by the client's name decides everything, as if the connection had been made under it:
-- OpenSSL by itself would take over a part only (SSL_set_SSL_CTX(3)).
local constants = require 'constants'
local tls = require 'tls'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'
local W = require 'spec.support.wire'

local rsa = T.ca:issue { names = { 'other.example' }, cn = 'rsa', key = 'rsa' }
local ec = T.ca:issue { names = { 'other.example' }, cn = 'ec', key = 'ec:P-384' }
local weak = T.ca:issue { names = { 'other.example' }, cn = 'weak', key = 'rsa:1024' }

local HANDSHAKE_FAILURE, PROTOCOL_VERSION = 40, 70
local A, B = 'ECDHE-RSA-AES256-GCM-SHA384', 'ECDHE-RSA-AES128-GCM-SHA256'
local ANY = 'DEFAULT@SECLEVEL=0'

-- { option, the named context's options, argv of s_client, what it sees, what it sees without the name }
local CASES = {
  { 'cert', {}, {}, { peer = 'CN = rsa' }, { peer = 'CN = localhost' } },
  { 'cert, several', { cert = { rsa.cert, ec.cert }, key = { ec.key, rsa.key } }, { '-sigalgs', 'ECDSA+SHA384' },
    { peer = 'CN = ec' }, { alert = HANDSHAKE_FAILURE } },
  { 'pfx', { cert = false, key = false, pfx = ec:pfx('x'), passphrase = 'x' }, {}, { peer = 'CN = ec' },
    { peer = 'CN = localhost' } },
  { 'ciphers', { ciphers = A }, { '-tls1_2', '-cipher', A .. ':ECDHE-ECDSA-AES128-GCM-SHA256' }, { cipher = A },
    { cipher = 'ECDHE-ECDSA-AES128-GCM-SHA256' } },
  { 'ciphers of TLS 1.3', { ciphers = 'TLS_CHACHA20_POLY1305_SHA256' }, {}, { cipher = 'TLS_CHACHA20_POLY1305_SHA256' },
    { cipher = 'TLS_AES_256_GCM_SHA384' } },
  { 'ciphers with a security level', { ciphers = ANY, cert = weak.cert, key = weak.key }, { '-cipher', ANY },
    { peer = 'CN = weak' }, { peer = 'CN = localhost' } },
  { 'honorCipherOrder', { honorCipherOrder = true, ciphers = A .. ':' .. B }, { '-tls1_2', '-cipher', B .. ':' .. A },
    { cipher = A }, { alert = HANDSHAKE_FAILURE } },
  { 'honorCipherOrder, off', { honorCipherOrder = false, ciphers = A .. ':' .. B },
    { '-tls1_2', '-cipher', B .. ':' .. A }, { cipher = B }, { alert = HANDSHAKE_FAILURE } },
  { 'honorCipherOrder, left out', { ciphers = A .. ':' .. B }, { '-tls1_2', '-cipher', B .. ':' .. A }, { cipher = A },
    { alert = HANDSHAKE_FAILURE } },
  { 'ecdhCurve', { ecdhCurve = 'P-384' }, {}, { tempKey = 'ECDH, secp384r1, 384 bits' },
    { tempKey = 'X25519, 253 bits' } },
  { 'ecdhCurve under TLS 1.2', { ecdhCurve = 'P-521' }, { '-tls1_2' }, { tempKey = 'ECDH, secp521r1, 521 bits' },
    { tempKey = 'X25519, 253 bits' } },
  { 'ecdhCurve, none', { ecdhCurve = false }, {}, { tempKey = 'DH, 2048 bits' }, { tempKey = 'X25519, 253 bits' } },
  { 'dhparam', { dhparam = 'auto' },
    { '-tls1_2', '-cipher', 'DHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256' },
    { tempKey = 'DH, 2048 bits' }, { cipher = 'ECDHE-ECDSA-AES128-GCM-SHA256' } },
  { 'sigalgs', { sigalgs = 'RSA-PSS+SHA512' }, {}, { hash = 'SHA512' }, { hash = 'SHA256' } },
  { 'minVersion', { minVersion = 'TLSv1.3' }, { '-tls1_2' }, { alert = PROTOCOL_VERSION }, { protocol = 'TLSv1.2' } },
  { 'maxVersion', { maxVersion = 'TLSv1.2' }, {}, { protocol = 'TLSv1.2' }, { protocol = 'TLSv1.3' } },
  { 'secureProtocol', { secureProtocol = 'TLSv1_2_method' }, {}, { protocol = 'TLSv1.2' }, { protocol = 'TLSv1.3' } },
  { 'secureOptions', { secureOptions = constants.SSL_OP_NO_TLSv1_3 }, {}, { protocol = 'TLSv1.2' },
    { protocol = 'TLSv1.3' } },
}

local function check(expected, seen)
  for name, value in pairs(expected) do
    assert.equal(value, seen[name], ('%s\n%s'):format(name, seen.output))
  end
end

local function withName(argv)
  local all = { '-servername', 'other.example' }
  for _, argument in ipairs(argv) do
    all[#all + 1] = argument
  end
  return all
end

-- How a server with `own` comes to the context for the name.
local WAYS = {
  addContext = function(await, own, options)
    local server, port = W.serve(await, own)
    server:addContext('other.example', options)
    return server, port
  end,
  SNICallback = function(await, own, options)
    local context = tls.createSecureContext(options)
    return W.serve(await, T.merged(own, { SNICallback = function(name, callback)
      callback(nil, name == 'other.example' and context or nil)
    end }))
  end,
}

local plain = T.identity()

for way, serve in pairs(WAYS) do
  describe('a context from ' .. way, function()
    for _, case in ipairs(CASES) do
      local special = T.merged({ key = rsa.key, cert = rsa.cert }, case[2])

      it('brings its ' .. case[1], P.test({}, function(await)
        local server, port = serve(await, plain, special)
        check(case[4], W.visit(await, port, withName(case[3])))
        check(case[5], W.visit(await, port, case[3]))
        P.close(await, server)
      end))

      it("leaves the server's own behind: " .. case[1], P.test({}, function(await)
        local server, port = serve(await, special, plain)
        check(case[5], W.visit(await, port, withName(case[3])))
        check(case[4], W.visit(await, port, case[3]))
        P.close(await, server)
      end))
    end
  end)
end
