local spec = require 'moonlatch.spec'
local tls = require 'tls'
local M = require 'spec.support.meeting'
local N = require 'spec.support.node'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'

local V12 = { maxVersion = 'TLSv1.2' }

describe('NPN', function()
  local function agreeing(name, serverOptions, clientOptions, expected)
    it(name, spec.coroutine(function(await)
      local ofServer, ofClient = M.meet(await, serverOptions, clientOptions)
      assert.same(expected, { ofServer.npn, ofClient.npn })
      assert.same({ nil, nil, 'well met' }, { ofServer.error, ofClient.error, ofClient.data })
    end))
  end

  local function npn(list, more)
    return T.merged(V12, T.merged({ NPNProtocols = list }, more))
  end

  agreeing("follows the server's order", npn { 'a', 'b', 'c' }, npn { 'c', 'b', 'e' }, { 'b', 'b' })
  agreeing('takes lists in wire format', npn '\1a\1b', npn '\1b', { 'b', 'b' })
  agreeing('is false when only the server has a list', npn { 'a' }, V12, { false, false })
  agreeing('is false when only the client has a list', V12, npn { 'a' }, { false, false })
  agreeing('is false for lists of nothing', npn {}, npn {}, { false, false })
  agreeing("says the client's first, and tells the client so, when there is nothing in common", npn { 'a', 'b' },
    npn { 'first', 'x' }, { 'first', false })
  agreeing('is not there under TLS 1.3', { NPNProtocols = { 'a' } },
    { NPNProtocols = { 'a' }, maxVersion = 'TLSv1.3' }, { false, false })
  agreeing('keeps a client that asks for it, and for no version, from TLS 1.3', { NPNProtocols = { 'a' } },
    { NPNProtocols = { 'a' } }, { 'a', 'a' })
  agreeing('does not when the client can have ALPN instead', { NPNProtocols = { 'a' } },
    { NPNProtocols = { 'a' }, ALPNProtocols = { 'a' } }, { false, false })
  agreeing('leaves a server and other clients their TLS 1.3', { NPNProtocols = { 'a' } }, { minVersion = 'TLSv1.3' },
    { false, false })

  local function besideAlpn(name, serverList, clientList, expected)
    it(name, spec.coroutine(function(await)
      local ofServer, ofClient = M.meet(await, npn({ 'n' }, { ALPNProtocols = serverList }),
        npn({ 'n' }, { ALPNProtocols = clientList }))
      assert.same(expected, { ofServer.alpn, ofServer.npn, ofClient.alpn, ofClient.npn })
    end))
  end

  besideAlpn('gives way to ALPN', { 'a' }, { 'a' }, { 'a', false, 'a', false })
  besideAlpn('is what is left when the server has no ALPN', nil, { 'a' }, { false, 'n', false, 'n' })
  besideAlpn('is what is left when the client has no ALPN', { 'a' }, nil, { false, 'n', false, 'n' })

  it('gives way to a choice of ALPNCallback', spec.coroutine(function(await)
    local ofServer, ofClient = M.meet(await, npn({ 'n' }, { ALPNCallback = function(_, callback)
      setImmediate(callback, nil, 'a')
    end }), npn({ 'n' }, { ALPNProtocols = { 'a' } }))
    assert.same({ 'a', false, 'a', false }, { ofServer.alpn, ofServer.npn, ofClient.alpn, ofClient.npn })
  end))

  it('is agreed on when a session is resumed, too', spec.coroutine(function(await)
    local server = T.serve(npn { 'a', 'b' }, nil, function() end)
    await(server, 'listening')
    local _, first = M.visit(await, server, npn { 'a' })
    local ofServer, second = M.visit(await, server, npn({ 'b' }, { session = first.session }))
    assert.is_true(second.reused)
    assert.same({ 'a', 'b', 'b' }, { first.npn, second.npn, ofServer.npn })
    P.close(await, server)
  end))

  it('counts on whichever context the client is served', spec.coroutine(function(await)
    local alpha = T.ca:issue { names = { 'alpha.test' } }
    local server = T.serve(npn { 'a' }, nil, function() end)
    server:addContext('alpha.test', T.merged(V12, { key = alpha.key, cert = alpha.cert }))
    await(server, 'listening')
    local ofServer, ofClient = M.visit(await, server, npn({ 'a' }, { servername = 'alpha.test' }))
    assert.same({ 'a', 'a' }, { ofServer.npn, ofClient.npn })
    P.close(await, server)
  end))

  it('is of one connection, not of the context that it shares', spec.coroutine(function(await)
    local server = T.serve(npn { 'a' }, nil, function() end)
    await(server, 'listening')
    local shared = tls.createSecureContext { ca = T.ca.cert }
    local seen = {}
    for i, list in ipairs { { 'a' }, false, { 'a' } } do
      local ofServer = M.visit(await, server, { secureContext = shared, NPNProtocols = list })
      seen[i] = ofServer.npn
    end
    assert.same({ 'a', false, 'a' }, seen)
    P.close(await, server)
  end))

  it('works on a socket that another server accepted', spec.coroutine(function(await)
    local server = T.serve(npn { 'a' }, nil, function() end)
    server:on('connection', function() end)
    await(server, 'listening')
    local ofServer = M.visit(await, server, npn { 'a' })
    assert.equal('a', ofServer.npn)
    P.close(await, server)
  end))

  it('wants lists', function()
    for _, create in ipairs { tls.createServer, tls.connect } do
      local err = N.raises('ERR_INVALID_ARG_TYPE', create, { NPNProtocols = 5 })
      assert.matches('"options.NPNProtocols"', err.message, 1, true)
      N.raises('ERR_INVALID_ARG_VALUE', create, { NPNProtocols = '\5a' })
      N.raises('ERR_OUT_OF_RANGE', create, { NPNProtocols = { ('x'):rep(256) } })
    end
  end)

  it('converts lists', function()
    local out = {}
    tls.convertNPNProtocols({ 'http/1.1', 'spdy/3' }, out)
    assert.same({ NPNProtocols = '\8http/1.1\6spdy/3' }, out)
  end)
end)

describe('openssl', function()
  it('speaks NPN as a client', P.test({}, function(await)
    local chosen
    local server, port = P.serve(await, { NPNProtocols = { 'spdy/3', 'http/1.1' } }, function(socket)
      chosen = socket.npnProtocol
      socket:pipe(socket)
    end)
    local _, stdout = P.sClientEcho(await, port, { '-tls1_2', '-nextprotoneg', 'http/1.1,spdy/3' })
    assert.matches('Next protocol: %(1%) spdy/3\n', stdout)
    assert.equal('spdy/3', chosen)
    P.close(await, server)
  end))

  it('speaks NPN as a client that has nothing in common with us', P.test({}, function(await)
    local chosen
    local server, port = P.serve(await, { NPNProtocols = { 'spdy/3' } }, function(socket)
      chosen = socket.npnProtocol
      socket:pipe(socket)
    end)
    local _, stdout = P.sClientEcho(await, port, { '-tls1_2', '-nextprotoneg', 'gopher' })
    assert.matches('Next protocol: %(2%) gopher\n', stdout)
    assert.equal('gopher', chosen)
    P.close(await, server)
  end))

  it('speaks NPN as a server', P.test({ own = T.localhost }, function(await, files)
    local server, port = P.sServer(await, { '-tls1_2', '-nextprotoneg', 'spdy/3,http/1.1', '-cert', files.own_cert,
      '-key', files.own_key })
    for _, list in ipairs { { 'http/1.1', 'spdy/3' }, { 'gopher' } } do
      local socket = T.connect(port, { NPNProtocols = list })
      await(socket, 'secureConnect')
      assert.equal(#list == 2 and 'spdy/3', socket.npnProtocol)
      socket:destroy()
      await(socket, 'close')
    end
    P.stop(await, server)
  end))
end)
