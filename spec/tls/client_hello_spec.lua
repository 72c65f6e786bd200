-- What a script is shown of a ClientHello: event 'clientHello' and the third argument of SNICallback.
local fs = require 'fs'
local C = require 'spec.support.client_hello'
local H = require 'spec.support.hostile'
local P = require 'spec.support.peers'
local hello = require 'moonlatch.tls.hello'

local function contains(list, wanted)
  for _, item in ipairs(list) do
    if item == wanted then
      return true
    end
  end
  return false
end

describe('the ClientHello of the openssl program', function()
  it('has the name and the protocols that it asks for', P.test({}, function(await)
    local seen = C.ofOpenssl(await, { ALPNProtocols = { 'h2' } },
      { '-servername', 'some.name.test', '-alpn', 'h2,http/1.1,x' })
    assert.equal('some.name.test', seen.servername)
    assert.same({ 'h2', 'http/1.1', 'x' }, seen.alpnProtocols)
  end))

  it('has no name and no protocols when it asks for none', P.test({}, function(await)
    local seen = C.ofOpenssl(await, {}, { '-noservername' })
    assert.is_nil(seen.servername)
    assert.same({}, seen.alpnProtocols)
    assert.is_false(contains(seen.extensions, 0))
  end))

  it('lists versions under TLS 1.3, and names one before it', P.test({}, function(await)
    local seen = C.ofOpenssl(await, {}, { '-min_protocol', 'TLSv1.2' })
    assert.same({ 'TLSv1.3', 'TLSv1.2' }, seen.versions)
    assert.same({ 0x0304, 0x0303 }, seen.codes.versions)
    assert.equal('TLSv1.2', seen.legacyVersion)
    seen = C.ofOpenssl(await, {}, { '-tls1_2' })
    assert.same({ 'TLSv1.2' }, seen.versions)
    assert.same({ 0x0303 }, seen.codes.versions)
    assert.is_false(contains(seen.extensions, 43))
  end))

  it('has its ciphers by name and number', P.test({}, function(await)
    local seen = C.ofOpenssl(await, {}, { '-ciphersuites', 'TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256',
      '-cipher', 'ECDHE-ECDSA-AES128-GCM-SHA256:AES256-SHA' })
    assert.same({ 'TLS_AES_256_GCM_SHA384', 'TLS_AES_128_GCM_SHA256', 'ECDHE-ECDSA-AES128-GCM-SHA256', 'AES256-SHA',
      'TLS_EMPTY_RENEGOTIATION_INFO_SCSV' }, seen.ciphers)
    assert.same({ 0x1302, 0x1301, 0xc02b, 0x0035, 0x00ff }, seen.codes.ciphers)
  end))

  it('has its groups, its keys and its signature algorithms', P.test({}, function(await)
    local seen = C.ofOpenssl(await, {}, { '-curves', 'P-384:X25519:ffdhe2048',
      '-sigalgs', 'ECDSA+SHA256:RSA-PSS+SHA384:ed25519:RSA+SHA512' })
    assert.same({ 'secp384r1', 'x25519', 'ffdhe2048' }, seen.groups)
    assert.same({ 24, 29, 256 }, seen.codes.groups)
    assert.same({ 'secp384r1' }, seen.keyShares)
    assert.same({ 24 }, seen.codes.keyShares)
    assert.same({ 'ecdsa_secp256r1_sha256', 'rsa_pss_rsae_sha384', 'ed25519', 'rsa_pkcs1_sha512' },
      seen.signatureAlgorithms)
    assert.same({ 0x0403, 0x0805, 0x0807, 0x0601 }, seen.codes.signatureAlgorithms)
  end))

  it('says whether a stapled response is wanted', P.test({}, function(await)
    assert.is_true(C.ofOpenssl(await, {}, { '-status' }).requestOCSP)
    assert.is_false(C.ofOpenssl(await, {}, {}).requestOCSP)
  end))

  it('has what is always there', P.test({}, function(await)
    local seen = C.ofOpenssl(await, {}, {})
    assert.equal(32, #seen.random)
    assert.equal(32, #seen.sessionId) -- middlebox compatibility (RFC 8446, D.4)
    assert.same({ 0 }, seen.compressionMethods)
    assert.same({}, seen.pskIdentities)
    assert.is_false(seen.hasTicket)
    assert.equal('\1', seen.raw:sub(1, 1))
    assert.equal(C.number(#seen.raw - 4, 3), seen.raw:sub(2, 4))
    assert.equal(seen.random, seen.raw:sub(7, 38))
  end))

  -- Visits twice, the second time with the session of the first.
  local function resumed(await, files, version)
    local path = files.dir .. '/session'
    local watched = C.watch(await, {})
    P.sClientEcho(await, watched.port, { version, '-sess_out', path })
    P.sClientEcho(await, watched.port, { version, '-sess_in', path })
    P.close(await, watched.server)
    return watched.hellos[1], watched.hellos[2]
  end

  it('has a ticket when it resumes a session of TLS 1.2', P.test({}, function(await, files)
    local first, second = resumed(await, files, '-tls1_2')
    assert.is_false(first.hasTicket)
    assert.is_true(contains(first.extensions, 35)) -- it would like to have one
    assert.is_true(second.hasTicket)
    assert.same({}, second.pskIdentities)
    assert.equal(32, #second.sessionId)
  end))

  it('has an identity when it resumes a session of TLS 1.3', P.test({}, function(await, files)
    local first, second = resumed(await, files, '-tls1_3')
    assert.same({}, first.pskIdentities)
    assert.equal(1, #second.pskIdentities)
    assert.is_true(#second.pskIdentities[1] > 32)
    assert.equal(41, second.extensions[#second.extensions])
    assert.is_false(second.hasTicket)
  end))
end)

describe('the ClientHello of our own client', function()
  it('has what tls.connect was told', P.test({}, function(await)
    local seen = C.seen(await, { ALPNProtocols = { 'one' } }, function(port)
      P.ownClientEcho(await, port, { ALPNProtocols = { 'one', 'two' }, ciphers = 'TLS_AES_128_GCM_SHA256',
        ecdhCurve = 'P-256', minVersion = 'TLSv1.3', sigalgs = 'ECDSA+SHA256' }, 'hello')
    end)
    assert.equal('localhost', seen.servername)
    assert.same({ 'one', 'two' }, seen.alpnProtocols)
    assert.same({ 'TLSv1.3' }, seen.versions)
    assert.equal('TLS_AES_128_GCM_SHA256', seen.ciphers[1])
    assert.same({ 'secp256r1' }, seen.groups)
    assert.same({ 'ecdsa_secp256r1_sha256' }, seen.signatureAlgorithms)
    assert.matches('^t13d%d%d%d%doe_%x+_%x+$', seen.ja4)
  end))

  it('is the message that went over the wire', P.test({}, function(await)
    local bytes = H.clientHello(await, {})
    local seen = C.ofBytes(await, {}, bytes)
    assert.equal(bytes:sub(6), seen.raw)
  end))
end)

-- The example of the specification of JA4 (github.com/FoxIO-LLC/ja4, technical_details/JA4.md), with GREASE as
-- browsers add it.
local function browserHello()
  local order = { 0x2a2a, 0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023, 0x0012,
    0x002b, 0xff01, 0x000b, 0x000a, 0xfafa, 0x0015 }
  local bodies = {
    [0x0000] = C.servername('browser.test')[2],
    [0x0033] = C.vector('\58\58' .. C.vector('\0', 2) .. '\0\29' .. C.vector(('k'):rep(32), 2), 2),
    [0x0010] = C.vector('\2h2\8http/1.1', 2),
    [0x002d] = '\1\1',
    [0x000d] = C.numbers({ 0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601, 0x9999 }, 2),
    [0x0005] = '\1\0\0\0\0',
    [0x002b] = C.numbers({ 0x1a1a, 0x0304, 0x0303 }, 1),
    [0xff01] = '\0',
    [0x000b] = '\1\0',
    [0x000a] = C.numbers({ 0x3a3a, 0x11ec, 0x001d, 0x0017 }, 2),
    [0xfafa] = '\0',
  }
  local extensions = {}
  for i, number in ipairs(order) do
    extensions[i] = { number, bodies[number] }
  end
  return order, { sessionId = 'a session', extensions = extensions, ciphers = { 0x4a4a, 0x1301, 0x1302, 0x1303,
    0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035 } }
end

describe('the ClientHello of a browser', function()
  it('keeps GREASE, what has no name, and the order of it all', P.test({}, function(await)
    local order, raw = browserHello()
    local seen = C.ofBytes(await, {}, C.raw(raw))
    assert.same(order, seen.extensions)
    assert.equal('GREASE(0x4a4a)', seen.ciphers[1])
    assert.equal('TLS_AES_128_GCM_SHA256', seen.ciphers[2])
    assert.same(raw.ciphers, seen.codes.ciphers)
    assert.same({ 'GREASE(0x1a1a)', 'TLSv1.3', 'TLSv1.2' }, seen.versions)
    assert.equal('GREASE(0x3a3a)', seen.groups[1])
    assert.same({ 'x25519', 'secp256r1' }, { seen.groups[3], seen.groups[4] })
    assert.same({ 0x3a3a, 0x11ec, 0x001d, 0x0017 }, seen.codes.groups)
    assert.same({ 'GREASE(0x3a3a)', 'x25519' }, seen.keyShares)
    assert.equal('0x9999', seen.signatureAlgorithms[9])
    assert.equal('a session', seen.sessionId)
    assert.equal(('r'):rep(32), seen.random)
    assert.is_true(seen.requestOCSP)
  end))

  it('has the fingerprint that was published for it', P.test({}, function(await)
    local _, raw = browserHello()
    raw.extensions[9][2] = C.numbers({ 0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601 }, 2)
    local seen = C.ofBytes(await, {}, C.raw(raw))
    assert.equal('t13d1516h2_8daaf6152771_e5627efa2ab1', seen.ja4)
  end))
end)

describe('unusual ClientHellos', function()
  it('of the form that SSLv2 had are shown, too', P.test({}, function(await)
    local message = '\1\3\3' .. C.number(6, 2) .. C.number(0, 2) .. C.number(16, 2) .. '\1\0\128\0\192\43'
      .. 'sixteen bytes  !'
    local seen = C.ofBytes(await, {}, '\128' .. string.char(#message) .. message)
    assert.same({ 'ECDHE-ECDSA-AES128-GCM-SHA256' }, seen.ciphers)
    assert.same({ 'TLSv1.2' }, seen.versions)
    assert.same({}, seen.extensions)
    assert.equal('sixteen bytes  !', seen.random)
    assert.equal(message, seen.raw)
  end))

  it('without any extension are shown, too', P.test({}, function(await)
    local body = '\3\1' .. ('r'):rep(32) .. '\0' .. C.numbers({ 0x002f }, 2) .. '\1\0'
    local seen = C.ofBytes(await, {}, C.record(1, body))
    assert.same({ 'TLSv1' }, seen.versions)
    assert.equal('t10i010000_' .. seen.ja4:sub(12), seen.ja4)
    assert.is_nil(seen.servername)
  end))

  it('that fill several records are put together', P.test({}, function(await)
    local raw = C.raw { ciphers = { 0x1301 }, extensions = { C.servername('long.test'), { 21, ('\0'):rep(20000) } } }
    local body, records = raw:sub(6), {}
    for at = 1, #body, 16384 do
      records[#records + 1] = '\22\3\1' .. C.vector(body:sub(at, at + 16383), 2)
    end
    local seen = C.ofBytes(await, {}, table.concat(records))
    assert.equal('long.test', seen.servername)
    assert.same({ 0, 21 }, seen.extensions)
    assert.equal(body, seen.raw)
  end))

  it('with a broken name are refused before anybody is shown them', P.test({}, function(await)
    local watched = C.watch(await, {})
    H.raw(await, watched.port, function(socket)
      socket:write(C.raw { ciphers = { 0x1301 }, extensions = { { 0, '\0\3\0\0\0' } } })
    end)
    local err = H.onlyError(await, watched)
    assert.equal('ERR_SSL_BAD_EXTENSION', err.code)
    assert.equal(1, #watched.hellos) -- the good client's
  end))
end)

describe('the third argument of SNICallback', function()
  local function shown(await, callback)
    local guarded = H.guard(await, { SNICallback = callback })
    P.ownClientEcho(await, guarded.port, {}, 'hello')
    P.close(await, guarded.server)
  end

  it('is the hello', P.test({}, function(await)
    local seen
    shown(await, function(servername, callback, third)
      assert.equal(servername, third.servername)
      seen = third
      callback()
    end)
    assert.same({ 'TLSv1.3', 'TLSv1.2' }, seen.versions)
  end))

  it('is the same table that the listeners of clientHello got', P.test({}, function(await)
    local seen
    local watched = C.watch(await, { SNICallback = function(_, callback, third)
      seen = third
      callback()
    end })
    P.ownClientEcho(await, watched.port, {}, 'hello')
    P.close(await, watched.server)
    assert.is_true(rawequal(seen, watched.hellos[1]))
  end))

  it('reaches functions of any number of arguments, and callable tables', P.test({}, function(await)
    shown(await, function(...)
      assert.equal('localhost', (select(3, ...)).servername)
      select(2, ...)()
    end)
    shown(await, setmetatable({}, { __call = function(_, _, callback, third)
      assert.equal('localhost', third.servername)
      callback()
    end }))
  end))

  it('is not made for functions that have no place for it', function()
    local nested = setmetatable({}, { __call = setmetatable({}, { __call = function(_, _, _, _, _) end }) })
    assert.is_false(hello.isTakenBy(function(_, _) end))
    assert.is_false(hello.isTakenBy(function() end))
    assert.is_false(hello.isTakenBy(setmetatable({}, { __call = function(_, _, _) end })))
    assert.is_true(hello.isTakenBy(function(_, _, _) end))
    assert.is_true(hello.isTakenBy(function(...) return ... end))
    assert.is_true(hello.isTakenBy(setmetatable({}, { __call = function(_, _, _, _) end })))
    assert.is_true(hello.isTakenBy(nested))
    assert.is_true(hello.isTakenBy(print))
  end)
end)

describe('tls.ClientHello', function()
  local function names(text, pattern)
    local found = {}
    for name in text:gmatch(pattern) do
      found[name] = true
    end
    return found
  end

  it('has the fields that the annotations and docs/api/tls.md say, and no other', P.test({}, function(await)
    local expected = {}
    for name in pairs(C.ofOpenssl(await, {}, { '-servername', 'localhost' })) do
      expected[name] = true
    end
    local annotations = fs.readFileSync('lua/moonlatch/tls/hello.lua', 'utf8')
    assert.same(expected, names(annotations:match('class tls%.ClientHello\n(.-)\n\n'), '%-%-%-@field (%w+)'))
    local page = fs.readFileSync('docs/api/tls.md', 'utf8')
    local rows = page:match('\n#### ClientHello\n.-| field | type | |\n(.-)\n\n')
    local documented = {}
    for cell in rows:gmatch('\n| (`[^|]*) |') do
      for name in cell:gmatch('`(%w+)`') do
        documented[name] = true
      end
    end
    assert.same(expected, documented)
  end))
end)
