-- Whom contexts without a `ca` trust. What is set here is set for the whole program, so each case that sets something
-- runs a program of its own; so does what depends on the environment.
local crypto = require 'crypto'
local fs = require 'fs'
local process = require 'process'
local program = require 'spec.support.program'
local spec = require 'moonlatch.spec'
local tls = require 'tls'
local T = require 'spec.support.tls'

-- Takes away all that an environment can say about trust.
local CLEAR = 'env -u MOONLATCH_EXTRA_CA_CERTS -u NODE_EXTRA_CA_CERTS -u SSL_CERT_FILE -u SSL_CERT_DIR '
  .. '-u MOONLATCH_OPTIONS'

-- In front of each script: files as globals, and meet(options): what a new connection to a server with the localhost
-- certificate comes to, "authorized" or the code of the error.
local PRELUDE = [[
local fs, tls = require 'fs', require 'tls'
local spec = require 'moonlatch.spec'
local dir = arg[1]
local function file(name) return fs.readFileSync(dir .. '/' .. name, 'utf8') end
local ca, other = file 'ca.pem', file 'other.pem'
local function meet(options, done)
  local server = tls.createServer({ key = file 'key.pem', cert = file 'cert.pem' })
  server:on('tlsClientError', function() end)
  server:on('secureConnection', function(socket) socket:on('error', function() end) socket:finish() end)
  server:listen(0, '127.0.0.1', function()
    options.port, options.host, options.servername = server:address().port, '127.0.0.1', 'localhost'
    local result
    local client = tls.connect(options, function() result = 'authorized' end)
    client:resume()
    client:on('error', function(err) result = err.code end)
    client:on('close', function() server:close(function() done(result) end) end)
  end)
end
]]

-- Runs `script` (after the prelude) in a directory of certificates; what it printed, and the whole result.
local function run(script, options)
  options = options or {}
  return spec.tempdir(function(dir)
    local function write(name, text)
      fs.writeFileSync(dir .. '/' .. name, text)
      return dir .. '/' .. name
    end
    write('key.pem', T.localhost.key)
    write('cert.pem', T.localhost.cert)
    write('ca.pem', T.ca.cert)
    write('other.pem', spec.ca({ name = 'Another authority' }).cert)
    write('script.lua', PRELUDE .. script)
    if options.prepare then
      options.prepare(dir, write)
    end
    local env = {}
    for name, value in pairs(options.env or {}) do
      env[name] = value:gsub('^@', dir .. '/')
    end
    local words = { unpack(options.words or {}) }
    words[#words + 1], words[#words + 2] = dir .. '/script.lua', dir
    local result = program.run(words, { env = env, before = CLEAR, program = options.program })
    assert.equal(0, result.status, result.err)
    return result.out, result
  end)
end

local function lines(text)
  local list = {}
  for line in text:gmatch '[^\n]+' do
    list[#list + 1] = line
  end
  return list
end

describe('tls.rootCertificates', function()
  it('is a list of different certificates in PEM', function()
    local roots, seen = tls.rootCertificates, {}
    assert.is_true(#roots > 10)
    for i = 1, #roots do
      assert.matches('^%-+BEGIN CERTIFICATE%-+\n[%w+/=\n]+\n%-%-%-%-%-END CERTIFICATE%-%-%-%-%-$', roots[i])
      assert.is_nil(seen[roots[i]])
      seen[roots[i]] = true
    end
    for i, root in ipairs(roots) do
      assert.equal(roots[i], root)
      seen[root] = nil
    end
    assert.same({}, seen)
    assert.is_nil(roots[0])
    assert.is_nil(roots[#roots + 1])
    assert.is_true(crypto.X509Certificate(roots[1]).ca)
  end)

  it('is the same at each look, and the same certificates as the bundled ones', function()
    assert.is_true(rawequal(tls.rootCertificates, tls.rootCertificates))
    local bundled = tls.getCACertificates 'bundled'
    assert.equal(#bundled, #tls.rootCertificates)
    for i, pem in ipairs(bundled) do
      assert.equal(pem, tls.rootCertificates[i])
    end
  end)

  it('cannot be assigned, nor can anything in it', function()
    local before = #tls.rootCertificates
    for _, index in ipairs { 1, before + 1, 'x' } do
      local ok, err = pcall(function()
        tls.rootCertificates[index] = 'mine'
      end)
      assert.is_false(ok)
      assert.equal(('TypeError: Cannot assign to read only property \'%s\' of tls.rootCertificates'):format(index),
        tostring(err))
    end
    local ok, err = pcall(function()
      tls.rootCertificates = {}
    end)
    assert.is_false(ok)
    assert.equal('TypeError', err.name)
    assert.equal(before, #tls.rootCertificates)
    tls.somethingElse = 'a field of my own'
    assert.equal('a field of my own', tls.somethingElse)
    tls.somethingElse = nil
  end)

  it('is taken as `ca`', function()
    assert.has_no.errors(function()
      tls.createSecureContext { ca = tls.rootCertificates }
    end)
  end)
end)

describe('tls.getCACertificates', function()
  it('gives the same sequence at each call', function()
    for _, kind in ipairs { 'default', 'system', 'bundled', 'extra' } do
      assert.is_true(rawequal(tls.getCACertificates(kind), tls.getCACertificates(kind)))
    end
    assert.is_true(rawequal(tls.getCACertificates(), tls.getCACertificates 'default'))
    assert.equal(#tls.getCACertificates 'system', #{ unpack(tls.getCACertificates 'system') })
  end)

  it('does not let its sequences be added to', function()
    local list = tls.getCACertificates 'system'
    local ok, err = pcall(function()
      list[#list + 1] = 'mine'
    end)
    assert.is_false(ok)
    assert.matches('^TypeError: Cannot assign to read only property', tostring(err))
  end)

  for _, case in ipairs {
    { 5, 'The "type" argument must be of type string. Received type number (5)' },
    { true, 'The "type" argument must be of type string. Received type boolean (true)' },
    { {}, 'The "type" argument must be of type string. Received an instance of Object' },
    { function() end, 'The "type" argument must be of type string. Received function ' },
  } do
    it('refuses a type that is a ' .. type(case[1]), function()
      local ok, err = pcall(tls.getCACertificates, case[1])
      assert.is_false(ok)
      assert.equal('ERR_INVALID_ARG_TYPE', err.code)
      assert.equal(case[2], err.message:sub(1, #case[2]))
    end)
  end

  it('refuses a type that there is not', function()
    local ok, err = pcall(tls.getCACertificates, 'test')
    assert.is_false(ok)
    assert.equal("TypeError [ERR_INVALID_ARG_VALUE]: The argument 'type' is invalid. Received 'test'", tostring(err))
  end)

  it('gives the system’s by default, and the extra ones where there are any', function()
    local script = [[
for _, kind in ipairs { 'default', 'system', 'bundled', 'extra' } do
  print(#tls.getCACertificates(kind))
end
print(tls.getCACertificates('extra')[1] == ca)
]]
    local default, system, bundled, extra = unpack(lines((run(script))))
    assert.equal(system, default)
    assert.equal(system, bundled)
    assert.equal('0', extra)
    local out = lines((run(script, { env = { MOONLATCH_EXTRA_CA_CERTS = '@ca.pem' } })))
    assert.same({ tostring(system + 1), system, system, '1', 'true' }, out)
  end)

  it('gives what SSL_CERT_FILE and SSL_CERT_DIR hold under --use-openssl-ca', function()
    local script = [[
local system = #tls.getCACertificates 'system'
print(#tls.getCACertificates(), system > 1, tls.getCACertificates()[1] == ca)
]]
    local none = { SSL_CERT_FILE = '@ca.pem', SSL_CERT_DIR = '@nowhere' }
    assert.equal('1\ttrue\ttrue\n', (run(script, { env = none, words = { '--use-openssl-ca' } })))
    local function hashed(dir, write)
      fs.mkdirSync(dir .. '/hashed')
      write('hashed/0123abcd.0', T.ca.cert)
      write('hashed/not-a-hash', 'nothing')
    end
    assert.equal('1\ttrue\ttrue\n', (run(script, { prepare = hashed, words = { '--use-openssl-ca' },
      env = { SSL_CERT_FILE = '@nothing', SSL_CERT_DIR = '@hashed' } })))
  end)
end)

describe('tls.setDefaultCACertificates', function()
  local function refused(certs)
    local ok, err = pcall(tls.setDefaultCACertificates, certs)
    assert.is_false(ok)
    return err
  end

  for name, certs in pairs { string = 'string', number = 42, boolean = true, ['function'] = print,
    table = { a = 'b' }, certificate = crypto.X509Certificate(T.ca.cert) } do
    it('refuses a ' .. name .. ' in place of a sequence', function()
      local err = refused(certs)
      assert.equal('ERR_INVALID_ARG_TYPE', err.code)
      assert.matches('^The "certs" argument must be an instance of Array%. Received ', err.message)
    end)
  end

  it('refuses nil in place of a sequence', function()
    assert.equal('ERR_INVALID_ARG_TYPE', refused(nil).code)
  end)

  for name, value in pairs { number = 42, boolean = true, ['function'] = print, table = {} } do
    it('refuses an entry that is a ' .. name, function()
      local err = refused { T.ca.cert, value }
      assert.equal('ERR_INVALID_ARG_TYPE', err.code)
      assert.matches('^The "certs%[2%]" argument must be of type string or an instance of X509Certificate%. Received ',
        err.message)
    end)
  end

  it('refuses certificates that cannot be read and leaves everything as it was', function()
    local before = tls.getCACertificates()
    local err = refused { 'not a valid certificate' }
    assert.equal('ERR_CRYPTO_OPERATION_FAILED', err.code)
    assert.equal('No valid certificates found in the provided array', err.message)
    err = refused { T.ca.cert, '-----BEGIN CERTIFICATE-----\nvalid cert content\n-----END CERTIFICATE-----' }
    assert.equal('ERR_OSSL_PEM_ASN1_LIB', err.code)
    assert.equal('PEM routines', err.library)
    assert.is_true(rawequal(before, tls.getCACertificates()))
  end)

  it('decides whom contexts trust that are made afterwards, and no others', function()
    local out = run [[
local old = tls.createSecureContext()
meet({}, function(result)
  print('at first', result)
  tls.setDefaultCACertificates { ca }
  meet({}, function(trusting)
    print('set', trusting)
    meet({ secureContext = old }, function(older)
      print('made before', older)
      tls.setDefaultCACertificates { other }
      meet({}, function(another)
        print('another', another)
        meet({ ca = ca }, function(own)
          print('with its own ca', own)
        end)
      end)
    end)
  end)
end)
]]
    assert.same({ 'at first\tUNABLE_TO_VERIFY_LEAF_SIGNATURE', 'set\tauthorized',
      'made before\tUNABLE_TO_VERIFY_LEAF_SIGNATURE', 'another\tUNABLE_TO_VERIFY_LEAF_SIGNATURE',
      'with its own ca\tauthorized' }, lines(out))
  end)

  it('takes bundles, X509Certificates and the program’s own lists, each certificate once', function()
    local out = run [[
local crypto = require 'crypto'
tls.setDefaultCACertificates { ca .. other, 'a note', crypto.X509Certificate(ca) }
local list = tls.getCACertificates()
print(#list, list[1] == ca, list[2] == other)
tls.setDefaultCACertificates(tls.getCACertificates 'system')
print(#tls.getCACertificates() == #tls.getCACertificates 'system')
tls.setDefaultCACertificates(tls.rootCertificates)
print(#tls.getCACertificates() == #tls.rootCertificates)
]]
    assert.equal('2\ttrue\ttrue\ntrue\ntrue\n', out)
  end)

  it('leaves the extra certificates out, and trusts nobody when there are none', function()
    local out = run([[
meet({}, function(extra)
  print(extra)
  tls.setDefaultCACertificates {}
  print(#tls.getCACertificates(), #tls.getCACertificates 'extra', #tls.getCACertificates 'system' > 1)
  meet({}, function(nobody)
    print(nobody)
  end)
end)
]], { env = { MOONLATCH_EXTRA_CA_CERTS = '@ca.pem' } })
    assert.equal('authorized\n0\t1\ttrue\nUNABLE_TO_VERIFY_LEAF_SIGNATURE\n', out)
  end)

  it('holds for contexts that add revocation lists to the default trust', function()
    local out = run([[
tls.setDefaultCACertificates { ca }
meet({ crl = file 'crl.pem' }, function(result) print(result) end)
]], { prepare = function(_, write)
      write('crl.pem', T.ca:crl { revoked = { T.localhost } })
    end })
    assert.equal('CERT_REVOKED\n', out)
  end)

  it('keeps sessions of one trust apart from those of another', function()
    local out = run [[
local keys = ('k'):rep(48)
local function serve(session, done)
  local server = tls.createServer({ key = file 'key.pem', cert = file 'cert.pem', ticketKeys = keys,
    maxVersion = 'TLSv1.2' }, function(socket) socket:on('error', function() end) socket:finish() end)
  server:listen(0, '127.0.0.1', function()
    local client
    client = tls.connect({ port = server:address().port, host = '127.0.0.1', servername = 'localhost', ca = ca,
      session = session }, function()
      print(client:isSessionReused())
      session = client:getSession()
    end)
    client:resume()
    client:on('close', function() server:close(function() done(session) end) end)
  end)
end
serve(nil, function(session)
  serve(session, function()
    tls.setDefaultCACertificates { other }
    serve(session, function() end)
  end)
end)
]]
    assert.equal('false\ntrue\nfalse\n', out)
  end)
end)

describe('extra certificates', function()
  local function warning(env, prepare)
    local _, result = run('print(#tls.getCACertificates "extra")', { env = env, prepare = prepare })
    return result
  end

  it('that cannot be read are a warning', function()
    local result = warning { MOONLATCH_EXTRA_CA_CERTS = '@nothing.pem' }
    assert.equal('0\n', result.out)
    assert.matches('Warning: Ignoring extra certs from `.-/nothing%.pem`, load failed: .*No such file', result.err)
  end)

  it('that are damaged are a warning', function()
    local result = warning({ NODE_EXTRA_CA_CERTS = '@bad.pem' }, function(_, write)
      write('bad.pem', T.ca.cert .. '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n')
    end)
    assert.equal('0\n', result.out)
    assert.matches('Ignoring extra certs from', result.err)
  end)

  it('of our own name go before those of Node’s', function()
    local _, result = run('print(tls.getCACertificates("extra")[1] == ca)',
      { env = { MOONLATCH_EXTRA_CA_CERTS = '@ca.pem', NODE_EXTRA_CA_CERTS = '@other.pem' } })
    assert.equal('true\n', result.out)
  end)
end)

describe('the program', function()
  for _, option in ipairs { '--use-bundled-ca', '--use-system-ca' } do
    it('takes ' .. option .. ', which changes nothing', function()
      local out = run('print(#tls.getCACertificates() == #tls.getCACertificates "system")', { words = { option } })
      assert.equal('true\n', out)
    end)
  end
end)

describe('contexts without a `ca`', function()
  it('share one store: a thousand of them cost little, and leave nothing behind', function()
    -- Resident memory is asked of a program that nothing watches: a sanitizer keeps what is freed unless it is told not
    -- to, and valgrind keeps books on every byte.
    local out = run([[
      local function resident()
        return tonumber(fs.readFileSync('/proc/self/status', 'utf8'):match 'VmRSS:%s+(%d+)')
      end
      local identity = { key = file 'key.pem', cert = file 'cert.pem' }
      local function build(count)
        local contexts = {}
        for i = 1, count do
          contexts[i] = tls.createSecureContext(identity)
        end
        return contexts
      end
      local function drop(contexts)
        for i = 1, #contexts do
          contexts[i] = nil
        end
        collectgarbage()
        collectgarbage()
      end
      drop(build(1000)) -- the allocator's own growth
      local before = resident()
      local contexts = build(1000)
      print((resident() - before) / 1000)
      drop(contexts)
      drop(build(1000))
      print(resident() - before)]], { program = process.execPath, env = { ASAN_OPTIONS = 'quarantine_size_mb=0' } })
    local each, left = out:match '^(%S+)\n(%S+)\n$'
    assert.is_true(tonumber(each) < 100, each .. ' KiB each')
    assert.is_true(tonumber(left) < 8 * 1024, 'left behind: ' .. left .. ' KiB')
  end)
end)
