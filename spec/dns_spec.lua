local moonlatch = require 'moonlatch'
local dns = require 'dns'
local process = require 'process'
local program = require 'spec.support.program'

--- Calls start(callback), runs the loop until nothing is left that keeps it open, and returns what the
--- callback got. It must have been called once, and not before `start` returned.
local function answerOf(start)
  local calls, got, early = 0, nil, true
  start(function(...)
    assert.is_false(early)
    calls = calls + 1
    got = { n = select('#', ...), ... }
  end)
  early = false
  moonlatch.run()
  assert.equal(1, calls)
  return unpack(got, 1, got.n)
end

local function lookup(...)
  local arguments, n = { ... }, select('#', ...)
  return answerOf(function(callback)
    arguments[n + 1] = callback
    dns.lookup(unpack(arguments, 1, n + 1))
  end)
end

local function raised(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  assert.equal('table', type(err))
  return err
end

local function noop() end

describe('dns.lookup', function()
  it('answers localhost without a server', function()
    local err, address, family = lookup('localhost', 4)
    assert.is_nil(err)
    assert.equal('127.0.0.1', address)
    assert.equal(4, family)
  end)

  it('knows every name of the hosts file, in either family that it has there', function()
    local known = {}
    for line in (require('fs').readFileSync('/etc/hosts', 'utf8') .. '\n'):gmatch('([^\n]*)\n') do
      local address, names = line:gsub('#.*', ''):match('^%s*(%S+)%s+(.*)')
      for name in (names or ''):gmatch('%S+') do
        known[name] = known[name] or {}
        known[name][address] = true
      end
    end
    for name, addresses in pairs(known) do
      if not name:find('localhost', 1, true) then -- which has an answer of its own
        local err, list = lookup(name, { all = true })
        assert.is_nil(err)
        assert.is_true(#list > 0)
        for _, entry in ipairs(list) do
          assert.is_true(addresses[entry.address], name .. ' ' .. entry.address)
        end
      end
    end
  end)

  it('takes the family as a number, a name or not at all', function()
    for _, option in ipairs { 6, { family = 6 }, { family = 'IPv6' } } do
      local err, address, family = lookup('localhost', option)
      assert.is_nil(err)
      assert.equal('::1', address)
      assert.equal(6, family)
    end
    assert.is_nil((lookup('localhost')))
    assert.is_nil((lookup('localhost', nil)))
    assert.is_nil((lookup('localhost', { family = 'IPv4' })))
  end)

  it('gives all addresses as a list of tables', function()
    local err, list = lookup('localhost', { all = true, family = 4 })
    assert.is_nil(err)
    assert.same({ { address = '127.0.0.1', family = 4 } }, list)
  end)

  it('answers an IP address with itself on a later tick, whatever the family', function()
    local err, address, family = lookup('127.0.0.1', { family = 6 })
    assert.is_nil(err)
    assert.equal('127.0.0.1', address)
    assert.equal(4, family)
    assert.same({ { address = '::1', family = 6 } }, select(2, lookup('::1', { all = true })))
  end)

  it('fails for an unknown host as Node does', function()
    local err = lookup('nope.invalid')
    assert.equal('Error: getaddrinfo ENOTFOUND nope.invalid', tostring(err))
    assert.equal('ENOTFOUND', err.code)
    assert.equal(-3008, err.errno)
    assert.equal('getaddrinfo', err.syscall)
    assert.equal('nope.invalid', err.hostname)
    assert.is_nil(err.address)
  end)

  it('never looks up a name with a NUL byte', function()
    local err = lookup('localhost\0.invalid')
    assert.equal('ENOTFOUND', err.code)
    assert.equal('localhost\0.invalid', err.hostname)
  end)

  it('keeps the whole of a name that is too long', function()
    local name = ('a'):rep(300) .. '.invalid'
    local err = lookup(name)
    assert.equal('ENOTFOUND', err.code)
    assert.equal(name, err.hostname)
  end)

  it('has no address for no name, and warns of it once', function()
    local warnings = {}
    local function collect(warning)
      warnings[#warnings + 1] = warning.code
    end
    process:on('warning', collect)
    local err, address, family = lookup('', 6)
    assert.is_nil(err)
    assert.is_nil(address)
    assert.equal(6, family)
    assert.equal(4, (select(3, lookup(nil))))
    assert.same({}, select(2, lookup(false, { all = true })))
    process:off('warning', collect)
    assert.same({ 'DEP0118' }, warnings)
  end)

  it('raises on misuse, naming the argument', function()
    local cases = {
      { 'ERR_INVALID_ARG_TYPE', '"hostname"', 5, noop },
      { 'ERR_INVALID_ARG_TYPE', '"callback"', 'localhost' },
      { 'ERR_INVALID_ARG_TYPE', '"callback"', 'localhost', {} },
      { 'ERR_INVALID_ARG_TYPE', '"options"', 'localhost', 'IPv4', noop },
      { 'ERR_INVALID_ARG_VALUE', "'family'", 'localhost', 5, noop },
      { 'ERR_INVALID_ARG_VALUE', "'options.family'", 'localhost', { family = 'x' }, noop },
      { 'ERR_INVALID_ARG_VALUE', "'hints'", 'localhost', { hints = 1 }, noop },
      { 'ERR_INVALID_ARG_TYPE', '"options.hints"', 'localhost', { hints = '8' }, noop },
      { 'ERR_INVALID_ARG_TYPE', '"options.all"', 'localhost', { all = 1 }, noop },
      { 'ERR_INVALID_ARG_TYPE', '"options.verbatim"', 'localhost', { verbatim = 1 }, noop },
      { 'ERR_INVALID_ARG_VALUE', "'options.order'", 'localhost', { order = 'x' }, noop },
    }
    for _, case in ipairs(cases) do
      local err = raised(dns.lookup, unpack(case, 3, 5))
      assert.equal(case[1], err.code)
      assert.truthy(err.message:find(case[2], 1, true), err.message)
    end
  end)

  it('can be given up', function()
    local called = false
    for _, host in ipairs { 'localhost', '127.0.0.1' } do
      dns.lookup(host, function() called = true end):cancel()
    end
    moonlatch.run()
    assert.is_false(called)
  end)
end)

describe('dns with a server of its own', function()
  local server, port, pid

  setup(function()
    server = assert(io.popen('exec node spec/support/fake_dns.js'))
    port, pid = assert(server:read('*l')):match('(%d+) (%d+)')
    dns.setServers { '127.0.0.1:' .. port }
  end)

  teardown(function()
    os.execute('kill ' .. pid)
    server:close()
  end)

  it('tells the servers that were set', function()
    assert.same({ '127.0.0.1:' .. port }, dns.getServers())
    local other = dns.Resolver()
    other:setServers { '127.0.0.1', '[::1]', '::1', '[::1]:5353', '127.0.0.1:53' }
    assert.same({ '127.0.0.1', '::1', '::1', '[::1]:5353', '127.0.0.1' }, other:getServers())
  end)

  it('refuses what is not the address of a server', function()
    for _, text in ipairs { 'localhost', '127.0.0.1:65536', '127.0.0.1:', '[127.0.0.1]:53', ':53', '' } do
      assert.equal('ERR_INVALID_IP_ADDRESS', raised(dns.setServers, { text }).code)
    end
    assert.equal('ERR_INVALID_ARG_TYPE', raised(dns.setServers, '127.0.0.1').code)
    assert.equal('ERR_INVALID_ARG_TYPE', raised(dns.setServers, { 5 }).code)
  end)

  it('does not change servers under a pending query', function()
    local resolver = dns.Resolver { timeout = 50, tries = 1 }
    resolver:setServers { '127.0.0.1:' .. port }
    local request = resolver:resolve4('silent.test', noop)
    assert.equal('ERR_DNS_SET_SERVERS_FAILED', raised(resolver.setServers, resolver, { '127.0.0.1' }).code)
    request:cancel()
    resolver:setServers { '127.0.0.1' }
    moonlatch.run()
  end)

  it('orders what lookup gives', function()
    local four, six = { address = '127.0.0.2', family = 4 }, { address = '::1', family = 6 }
    local function all(options)
      options.all = true
      local err, list = lookup('both.test', options)
      assert.is_nil(err)
      return list
    end
    assert.same({ four, six }, all { order = 'ipv4first' })
    assert.same({ six, four }, all { order = 'ipv6first' })
    assert.same({ four, six }, all { verbatim = false })
    assert.equal(2, #all { order = 'verbatim' })

    assert.equal('verbatim', dns.getDefaultResultOrder())
    dns.setDefaultResultOrder('ipv4first')
    local first = all {}
    dns.setDefaultResultOrder('verbatim')
    assert.same({ four, six }, first)
    assert.equal('ERR_INVALID_ARG_VALUE', raised(dns.setDefaultResultOrder, 'x').code)
  end)

  it('maps IPv4 addresses when the hints ask for it', function()
    assert.equal('ENOTFOUND', lookup('four.test', 6).code)
    local err, address, family = lookup('four.test', { family = 6, hints = dns.V4MAPPED })
    assert.is_nil(err)
    assert.truthy(address:find('^::ffff:127%.0%.0%.[34]$'))
    assert.equal(6, family)
    local _, list = lookup('both.test', { family = 6, hints = dns.V4MAPPED + dns.ALL, all = true })
    assert.same({ { address = '::1', family = 6 }, { address = '::ffff:127.0.0.2', family = 6 } }, list)
  end)

  it('asks for families that there are addresses of here when the hints say so', function()
    -- Those of loopback interfaces do not count.
    local configured = {}
    for interface, kind in program.shell('ip -o addr').out:gmatch('%d+: (%S+)%s+(inet6?) ') do
      if interface ~= 'lo' then
        configured[kind == 'inet' and 4 or 6] = true
      end
    end
    local expected = {}
    for _, family in ipairs { 4, 6 } do
      if configured[family] or not next(configured) then
        expected[#expected + 1] = family
      end
    end
    local _, list = lookup('both.test', { all = true, hints = dns.ADDRCONFIG, order = 'ipv4first' })
    local families = {}
    for i, entry in ipairs(list) do
      families[i] = entry.family
    end
    assert.same(expected, families)
    assert.is_nil((lookup('localhost', { hints = dns.ADDRCONFIG, family = 4 })))
  end)

  it('looks names up within the time that the environment gives (resolv.conf(5))', function()
    local outcome = program.eval(([[
      local dns = require 'dns'
      dns.setServers { '127.0.0.1:%s' }
      dns.lookup('silent.test', function(err) print(err.code, err.syscall, err.hostname) end)
      dns.lookup('four.test', function(err, address) print(err, address ~= nil) end)]]):format(port),
      { env = { RES_OPTIONS = 'timeout:1 attempts:1' } })
    assert.equal('nil\ttrue\nEAI_AGAIN\tgetaddrinfo\tsilent.test\n', outcome.out)
    assert.equal('', outcome.err)
  end)

  it('says that a server that fails is worth another try', function()
    local err = lookup('fail.test', 4)
    assert.equal('getaddrinfo EAI_AGAIN fail.test', err.message)
    assert.equal(-3001, err.errno)
  end)

  it('resolves A and AAAA records', function()
    local err, list = answerOf(function(callback) dns.resolve4('four.test', callback) end)
    assert.is_nil(err)
    assert.same({ '127.0.0.3', '127.0.0.4' }, list)
    local function resolved(...)
      local arguments = { ... }
      return select(2, answerOf(function(callback)
        arguments[#arguments + 1] = callback
        dns[arguments[1]](unpack(arguments, 2))
      end))
    end
    assert.same({ '::1' }, resolved('resolve6', 'six.test'))
    assert.same({ '::1' }, resolved('resolve', 'six.test', 'AAAA'))
    assert.same({ '127.0.0.2' }, resolved('resolve', 'both.test'))
  end)

  it('gives the time to live when it is asked for', function()
    local _, list = answerOf(function(callback) dns.resolve4('four.test', { ttl = true }, callback) end)
    assert.same({ { address = '127.0.0.3', ttl = 62 }, { address = '127.0.0.4', ttl = 63 } }, list)
  end)

  it('asks again over TCP when an answer was cut', function()
    local err, list = answerOf(function(callback) dns.resolve4('large.test', callback) end)
    assert.is_nil(err)
    assert.equal(100, #list)
    assert.equal('127.0.1.100', list[100])
  end)

  it('reports what the DNS said', function()
    local err = answerOf(function(callback) dns.resolve4('none.test', callback) end)
    assert.equal('queryA ENOTFOUND none.test', err.message)
    assert.equal(dns.NOTFOUND, err.code)
    assert.equal('queryA', err.syscall)
    assert.equal('none.test', err.hostname)
    assert.is_nil(err.errno)
    err = answerOf(function(callback) dns.resolve6('four.test', callback) end)
    assert.equal('queryAaaa ENODATA four.test', err.message)
    assert.equal(dns.NODATA, err.code)
  end)

  it('finds the names of an address', function()
    local _, names = answerOf(function(callback) dns.reverse('127.0.0.9', callback) end)
    assert.same({ 'nine.test' }, names)
    assert.equal('getHostByAddr ENOTFOUND 127.0.0.10',
      answerOf(function(callback) dns.reverse('127.0.0.10', callback) end).message)
    assert.equal('EINVAL', raised(dns.reverse, 'nine.test', noop).code)
  end)

  it('gives up on a silent server', function()
    local resolver = dns.Resolver { timeout = 30, tries = 1 }
    resolver:setServers { '127.0.0.1:' .. port }
    local err = answerOf(function(callback) resolver:resolve4('silent.test', callback) end)
    assert.equal(dns.TIMEOUT, err.code)
  end)

  it('cancels what a resolver has pending', function()
    local resolver = dns.Resolver()
    resolver:setServers { '127.0.0.1:' .. port }
    local err = answerOf(function(callback)
      resolver:resolve4('silent.test', callback)
      resolver:cancel()
    end)
    assert.equal(dns.CANCELLED, err.code)
    assert.equal('silent.test', err.hostname)
  end)

  it('survives a collected resolver and a callback that starts another query', function()
    local answers = 0
    dns.Resolver():resolve4('x.invalid', function() answers = answers + 1 end)
    collectgarbage()
    collectgarbage()
    answerOf(function(callback)
      dns.resolve4('four.test', function()
        dns.lookup('four.test', callback)
      end)
    end)
    assert.equal(1, answers)
  end)

  it('raises on misuse of resolve', function()
    assert.equal('ERR_INVALID_ARG_TYPE', raised(dns.resolve4, 5, noop).code)
    assert.equal('ERR_INVALID_ARG_TYPE', raised(dns.resolve4, 'four.test').code)
    assert.equal('ERR_INVALID_ARG_TYPE', raised(dns.resolve, 'four.test', 5, noop).code)
    assert.equal('ERR_INVALID_ARG_VALUE', raised(dns.resolve, 'four.test', 'MX', noop).code)
    assert.equal('ERR_OUT_OF_RANGE', raised(dns.Resolver, { tries = 0 }).code)
    assert.equal('ERR_INVALID_ARG_TYPE', raised(dns.Resolver, { timeout = 'x' }).code)
  end)
end)
