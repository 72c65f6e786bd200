-- moonlatch.spec, which all other specs stand on: mostly how it fails.

local crypto = require 'crypto'
local net = require 'net'
local program = require 'spec.support.program'
local spec = require 'moonlatch.spec'
local timers = require 'timers'

-- What spec.run raises, as text.
local function failure(fn, options)
  local ok, err = pcall(spec.run, fn, options)
  assert.is_false(ok, 'the test should have failed')
  return type(err) == 'table' and (err.message or tostring(err)) or err
end

local function contains(text, part)
  assert.truthy(text:find(part, 1, true), text)
end

describe('an asynchronous test', function()
  it('ends when it says so', function()
    local order = {}
    spec.run(function(done)
      timers.setTimeout(function()
        order[#order + 1] = 'timer'
        done()
      end, 5)
      order[#order + 1] = 'started'
    end)
    assert.same({ 'started', 'timer' }, order)
  end)

  it('ends at once when it says so at once', function()
    spec.run(function(done)
      done()
    end)
    spec.run(function(done)
      process.nextTick(done)
    end, { timeout = 1000 })
  end)

  it('ends when all that was expected has come', function()
    local count = 0
    spec.run(function(_, expect)
      local callback = expect(function(a, b)
        assert.equal(7, a + b)
        count = count + 1
        return count
      end, 2)
      timers.setTimeout(function()
        assert.equal(1, callback(3, 4))
      end, 1)
      timers.setTimeout(callback, 2, 5, 2)
    end)
    assert.equal(2, count)
  end)

  it('fails when the loop is empty before its end', function()
    contains(failure(function() end), 'nothing is left to wait for, but the test did not end')
    contains(failure(function(_, expect)
      expect(function() end)
    end), 'was called 0 times instead of 1')
  end)

  it('fails when a callback comes too often or when it must not', function()
    contains(failure(function(_, expect)
      local callback = expect(nil, 1, 'the answer')
      callback()
      callback()
    end), 'the answer was called 2 times instead of 1')
    contains(failure(function(done, expect)
      local never = expect(0)
      timers.setTimeout(never, 1)
      timers.setTimeout(done, 5)
    end), 'was called 1 times instead of 0')
  end)

  it('still gets what it expects after its end', function()
    local closed = false
    spec.run(function(done, expect)
      local server = net.createServer()
      server:listen(0, '127.0.0.1', function()
        server:close(expect(function()
          closed = true
        end))
        done()
      end)
    end)
    assert.is_true(closed)
  end)

  it('fails when it takes too long, with its name', function()
    local interval
    local text = failure(function()
      interval = timers.setInterval(function() end, 5)
    end, { timeout = 20, settle = 20, name = 'a slow one' })
    timers.clearInterval(interval)
    contains(text, 'took longer than')
    contains(text, '(a slow one)')
  end)

  it('fails when it ends twice', function()
    contains(failure(function(done)
      done()
      done()
    end), 'done was called twice')
  end)

  it('fails with what done is given', function()
    assert.equal('no good', failure(function(done)
      done('no good')
    end))
  end)

  it('fails with the error that its first part raises', function()
    local text = failure(function()
      error('straight away')
    end)
    contains(text, 'straight away')
    contains(text, 'stack traceback:')
  end)

  it('fails with an error that a callback raises, and where it was', function()
    local text = failure(function()
      timers.setTimeout(function()
        error('in a timer')
      end, 1)
    end)
    contains(text, 'in a timer')
    contains(text, 'stack traceback:')
    contains(text, 'spec_spec.lua')
  end)

  it('fails with an assertion in a callback', function()
    local ok, err = pcall(spec.run, function()
      process.nextTick(function()
        assert.equal(1, 2)
      end)
    end)
    assert.is_false(ok)
    contains(tostring(type(err) == 'table' and err.message or err), 'Expected objects to be equal')
  end)

  it("fails with an 'error' event nobody listens to", function()
    local ok, err = pcall(spec.run, function()
      net.connect(1, '127.0.0.1')
    end)
    assert.is_false(ok)
    assert.equal('ECONNREFUSED', err.code)
  end)

  it('may listen to uncaught errors itself', spec.async(function(done)
    process:once('uncaughtException', function(err)
      contains(tostring(err), 'mine')
      done()
    end)
    timers.setTimeout(function()
      error('mine')
    end, 1)
  end))

  it('leaves no listener behind', function()
    local before = process:listenerCount('uncaughtException')
    spec.run(function(done)
      done()
    end)
    failure(function() end)
    assert.equal(before, process:listenerCount('uncaughtException'))
  end)

  it('fails when it leaves handles open, names them and closes them', function()
    local server
    local text = failure(function(done)
      server = net.createServer()
      server:listen(0, '127.0.0.1', function()
        done()
      end)
    end, { settle = 50 })
    contains(text, 'the test left open: listener of')
    assert.is_false(server.listening)
    assert.equal(0, spec.handles.count())
  end)

  it('fails when it leaves an unreferenced handle open', function()
    contains(failure(function(done)
      local server = net.createServer()
      server:listen(0, '127.0.0.1', function()
        server:unref()
        done()
      end)
    end, { settle = 50 }), '(unreferenced)')
  end)

  it('may leave handles open when it says so', function()
    local server
    spec.run(function(done)
      server = net.createServer()
      server:listen(0, '127.0.0.1', function()
        done()
      end)
    end, { allowOpen = true })
    assert.is_true(server.listening)
    local open, referenced = spec.handles.count()
    assert.equal(1, open)
    assert.equal(1, referenced)
    -- What was open before a test is not the test's.
    spec.run(function(done)
      done()
    end)
    server:close()
    spec.run(function(done)
      process.nextTick(done)
    end)
    assert.equal(0, spec.handles.count())
  end)

  it('runs inside another one', spec.async(function(done)
    timers.setTimeout(function()
      spec.run(function(inner)
        timers.setTimeout(inner, 1)
      end)
      done()
    end, 1)
  end))
end)

describe('a test written as a coroutine', function()
  it('waits for events, callbacks and time', spec.coroutine(function(await, expect)
    local server = net.createServer(expect(function(socket)
      socket:pipe(socket)
    end))
    server:listen(0, '127.0.0.1')
    await(server, 'listening')
    local client = net.connect(server:address().port, '127.0.0.1')
    await(client, 'connect')
    client:finish('hello')
    assert.equal('hello', await(client, 'data'))
    await(client, 'close')
    server:close()
    await(server, 'close')
    await(2)
    local a, b = await(function(callback)
      process.nextTick(callback, nil, 1, 2)
    end)
    assert.same({ 1, 2 }, { a, b })
    assert.equal('at once', await(function(callback)
      callback(nil, 'at once')
      callback('too late')
    end))
  end))

  it('raises what a callback or an error event brings', spec.coroutine(function(await)
    local ok, err = pcall(await, function(callback)
      process.nextTick(callback, 'broken')
    end)
    assert.is_false(ok)
    assert.equal('broken', err)
    local socket = net.connect(1, '127.0.0.1')
    ok, err = pcall(await, socket, 'connect')
    assert.is_false(ok)
    assert.equal('ECONNREFUSED', err.code)
    assert.equal(0, socket:listenerCount('connect'))
    local other = net.connect(1, '127.0.0.1')
    assert.equal('ECONNREFUSED', await(other, 'error').code)
  end))

  it('fails when what it waits for never comes', function()
    local ok, err = pcall(spec.coroutine(function(await)
      await(function() end)
    end))
    assert.is_false(ok)
    contains(err, 'the test did not end')
  end)

  it('fails with what it raises after a wait', function()
    local ok, err = pcall(spec.coroutine(function(await)
      await(1)
      error('later')
    end))
    assert.is_false(ok)
    contains(err, 'later')
    contains(err, 'spec_spec.lua')
  end)
end)

describe('certificates', function()
  local function x509(identity)
    return crypto.X509Certificate(identity.cert)
  end

  it('are issued by an authority for any names', function()
    local ca = spec.ca { name = 'My CA' }
    local leaf = ca:issue { names = { 'a.com', '127.0.0.1' } }
    assert.equal('CN=My CA', x509(ca).subject)
    assert.equal('CN=My CA', x509(leaf).issuer)
    assert.equal('CN=a.com', x509(leaf).subject)
    assert.equal('DNS:a.com, IP Address:127.0.0.1', x509(leaf).subjectAltName)
    assert.is_true(x509(leaf):verify(x509(ca).publicKey))
    assert.equal(ca.cert, leaf.ca)
    assert.equal(leaf.cert, leaf.chain)
    assert.equal('DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1', x509(ca:issue()).subjectAltName)
  end)

  it('come with the intermediate ones that issued them', function()
    local root = spec.ca()
    local middle = root:intermediate()
    local leaf = middle:intermediate({ name = 'Lower' }):issue()
    local count = select(2, leaf.chain:gsub('BEGIN CERTIFICATE', ''))
    assert.equal(3, count)
    assert.equal(root.cert, leaf.ca)
    assert.is_true(x509(middle).ca)
    assert.is_false(x509(leaf).ca)
  end)

  it('have times relative to now or absolute', function()
    local now = os.time()
    local cert = x509(spec.selfSigned { validFrom = -7200, validTo = 3600 })
    assert.is_true(math.abs(cert.validFromDate - (now - 7200)) <= 2)
    assert.is_true(math.abs(cert.validToDate - (now + 3600)) <= 2)
    cert = x509(spec.selfSigned { validFrom = 1501545600, validTo = 1502150400 })
    assert.equal('Aug  1 00:00:00 2017 GMT', cert.validFrom)
    assert.equal(1502150400, cert.validToDate)
  end)

  it('have a key of their own unless they are told whose', function()
    local ca = spec.ca { key = 'rsa' }
    local one, other = ca:issue { key = 'rsa' }, ca:issue { key = 'rsa' }
    assert.are_not.equal(one.key, other.key)
    assert.are_not.equal(one.key, ca.key)
    assert.equal(one.key, ca:issue({ key = one }).key)
    assert.equal(one.key, ca:issue({ key = one.key }).key)
  end)

  it('find their RSA keys again in MOONLATCH_SPEC_KEYS', function()
    spec.tempdir(function(directory)
      local function keys()
        return program.eval([[local spec = require 'moonlatch.spec'
          for _ = 1, 2 do io.write(spec.selfSigned({ key = 'rsa:1024' }).key) end]],
          { env = { MOONLATCH_SPEC_KEYS = directory } }).out
      end
      local first = keys()
      assert.matches('BEGIN', first)
      assert.equal(first, keys())
      assert.are_not.equal(first:sub(1, #first / 2), first:sub(#first / 2 + 1))
    end)
  end)

  it('come as PKCS#12 and with encrypted keys', function()
    local leaf = spec.ca():intermediate():issue()
    assert.is_true(#leaf:pfx('secret') > 500)
    local key = crypto.createPrivateKey { key = leaf:encryptedKey('secret'), passphrase = 'secret' }
    assert.is_true(x509(leaf):checkPrivateKey(key))
    key = crypto.createPrivateKey { key = leaf:encryptedKey('secret', true), passphrase = 'secret' }
    assert.is_true(x509(leaf):checkPrivateKey(key))
  end)

  it('say what they cannot be', function()
    for _, options in ipairs { { key = 'nonsense' }, { names = { 'IP:nonsense' } }, { names = { 'RID:nonsense' } },
      { digest = 'nonsense' }, { serial = 'xyz' }, { extensions = { { name = 'nonsense', value = '1' } } },
      { subject = { { 'nonsense', 'x' } } } } do
      local ok, err = pcall(spec.selfSigned, options)
      assert.is_false(ok)
      assert.is_true(require('moonlatch.errors').isError(err))
    end
  end)
end)

-- What OpenSSL's own program says of them.
describe('the openssl program', function()
  local directory

  before_each(function()
    directory = spec.tempdir()
  end)

  after_each(function()
    spec.remove(directory)
  end)

  local function write(name, text)
    local path = directory .. '/' .. name
    local file = assert(io.open(path, 'wb'))
    file:write(text)
    file:close()
    return path
  end

  -- Verifies `leaf` and gives the program's verdict to `check`.
  local function verify(leaf, arguments, check)
    local argv = { 'openssl', 'verify', '-CAfile', write('ca', leaf.ca .. (arguments.crl or '')),
      '-untrusted', write('chain', leaf.chain) }
    for _, argument in ipairs(arguments) do
      argv[#argv + 1] = argument
    end
    argv[#argv + 1] = write('leaf', leaf.cert)
    spec.run(function(_, expect)
      spec.command(argv, expect(function(status, out, err)
        check(status, out .. err)
      end))
    end)
  end

  local root = spec.ca { key = 'rsa' }
  local middle = root:intermediate()
  local revoked = middle:issue()

  local cases = {
    { 'accepts a good one', middle:issue() },
    { 'accepts one of every kind of key', root:issue { key = 'ed25519' } },
    { 'says that it has expired', middle:issue { validTo = -60 }, 'certificate has expired' },
    { 'says that it is not yet valid', middle:issue { validFrom = 600 }, 'certificate is not yet valid' },
    { 'says that it stands for itself', (function()
      local leaf = spec.selfSigned()
      leaf.ca = root.cert
      return leaf
    end)(), 'self-signed certificate' },
    { 'says that it is for something else', middle:issue { purpose = 'client' }, 'unsuitable certificate purpose',
      { '-purpose', 'sslserver' } },
    { 'says that the path is too long', root:intermediate({ pathLength = 0 }):intermediate():issue(),
      'path length constraint exceeded' },
    { 'says that the issuer may not issue', middle:issue():issue(), 'invalid CA certificate' },
    { 'says that a name is not permitted',
      root:intermediate({ nameConstraints = { permitted = 'example.com' } }):issue { names = { 'other.com' } },
      'permitted subtree violation' },
    { 'says that a name is excluded',
      root:intermediate({ nameConstraints = { excluded = 'IP:127.0.0.0/255.0.0.0' } }):issue(),
      'excluded subtree violation' },
    { 'says that an extension is unknown', middle:issue { unknownCritical = true },
      'unhandled critical extension' },
    { 'says that the signature is wrong', middle:issue { spoilSignature = true }, 'certificate signature failure' },
    { 'says that the key is weak', middle:issue { key = 'rsa:1024' }, 'EE certificate key too weak',
      { '-auth_level', '2' } },
    { 'accepts one that is not revoked', middle:issue(), nil,
      { '-crl_check', crl = middle:crl { revoked = { revoked } } } },
    { 'says that it is revoked', revoked, 'certificate revoked',
      { '-crl_check', crl = middle:crl { revoked = { revoked, '0A' } } } },
    { 'says that the list is too old', middle:issue(), 'CRL has expired',
      { '-crl_check', crl = middle:crl { lastUpdate = -7200, nextUpdate = -3600 } } },
    { 'finds no list', middle:issue(), 'unable to get certificate CRL', { '-crl_check' } },
  }
  for _, case in ipairs(cases) do
    it(case[1], function()
      verify(case[2], case[4] or {}, function(status, output)
        if case[3] then
          assert.are_not.equal(0, status)
          contains(output, case[3])
        else
          assert.equal(0, status, output)
        end
      end)
    end)
  end

  it('reads the PKCS#12 file', function()
    local leaf = middle:issue()
    spec.run(function(_, expect)
      spec.command({ 'openssl', 'pkcs12', '-in', write('pfx', leaf:pfx('secret')), '-passin', 'pass:secret', '-nodes' },
        expect(function(status, out, err)
          assert.equal(0, status, err)
          assert.equal(3, select(2, out:gsub('BEGIN CERTIFICATE', '')))
          contains(out, 'BEGIN PRIVATE KEY')
        end))
    end)
  end)
end)

describe('another program', function()
  it('is given its input and says how it ended', spec.async(function(_, expect)
    spec.command('cat; echo problem >&2; exit 3', { input = 'hello\0world' }, expect(function(status, out, err)
      assert.equal(3, status)
      assert.equal('hello\0world', out)
      assert.equal('problem\n', err)
    end))
  end))

  it('reads and writes as long as it runs', spec.async(function(done)
    local cat = spec.command({ 'cat' }, { input = false })
    cat:waitFor('stdout', 'one', function()
      cat.stdin:write('two')
    end)
    cat:waitFor('stdout', 'onetwo', function()
      cat.stdin:finish()
    end)
    cat:on('exit', function(status)
      assert.equal(0, status)
      assert.equal('onetwo', cat.stdout)
      done()
    end)
    cat.stdin:write('one')
  end))

  it('is killed when it takes too long', spec.async(function(_, expect)
    spec.command({ 'sleep', '60' }, { timeout = 30 }, expect(function(status, _, _, command)
      assert.equal(137, status)
      assert.is_true(command.timedOut)
    end))
  end))

  it('is killed when it is told', spec.async(function(_, expect)
    local command = spec.command({ 'sleep', '60' }, expect(function(status)
      assert.equal(143, status)
    end))
    assert.is_true(command.pid > 1)
    command:kill()
  end))

  it('moves much data without a pause of the loop', spec.async(function(_, expect)
    local data = ('x'):rep(3000000)
    spec.command({ 'cat' }, { input = data }, expect(function(_, out)
      assert.is_true(out == data)
    end))
  end))

  it('has our environment with changes, and its own directory', spec.async(function(_, expect)
    local options = { env = { GREETING = 'hello', HOME = false }, cwd = '/' }
    spec.command('echo "$GREETING,$HOME,${PATH:+path},$PWD"', options, expect(function(_, out)
      assert.equal('hello,,path,/\n', out)
    end))
  end))

  it('must exist', function()
    local ok, err = pcall(spec.command, { '/nonexistent' })
    assert.is_false(ok)
    assert.equal('ENOENT', err.code)
    assert.equal('spawn', err.syscall)
    assert.is_true(spec.available('sh'))
    assert.is_false(spec.available('no-such-program'))
  end)

  it('is a handle that must not be left', function()
    contains(failure(function(done)
      spec.command({ 'sleep', '60' })
      done()
    end, { settle = 50 }), 'child of Command')
  end)
end)

describe('a temporary directory', function()
  it('goes with everything in it', function()
    local path = spec.tempdir()
    assert(io.open(path .. '/file', 'w')):close()
    assert.truthy(io.open(path .. '/file'))
    spec.remove(path)
    assert.is_nil(io.open(path .. '/file'))
    spec.remove(path)
  end)

  it('goes when the function that has it ends, however it ends', function()
    local seen
    assert.equal(5, spec.tempdir(function(path)
      seen = path
      return 5
    end))
    assert.is_nil(io.open(seen))
    assert.has_error(function()
      spec.tempdir(function(path)
        seen = path
        error('x', 0)
      end)
    end, 'x')
    assert.is_nil(io.open(seen))
  end)
end)
