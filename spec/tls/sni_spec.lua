local spec = require 'moonlatch.spec'
local tls = require 'tls'
local Names = require 'moonlatch.tls.names'
local T = require 'spec.support.tls'

local function contextFor(name)
  local leaf = T.ca:issue { names = { name }, cn = name }
  return tls.createSecureContext { key = leaf.key, cert = leaf.cert }
end

-- Connects under `servername`; calls back with the common name served, or the error.
local function visit(port, servername, options, done)
  local client, result
  client = T.connect(port, T.merged({ servername = servername, checkServerIdentity = function() end }, options),
    function()
      result = client:getPeerCertificate().subject.CN
      client:finish()
    end)
  client:resume()
  client:on('error', function(err)
    result = err
  end)
  client:on('close', function()
    done(result)
  end)
end

-- Visits each name in turn; `check(i, result)` for each.
local function visitAll(server, port, names, check, done)
  local i = 0
  local function step()
    i = i + 1
    if i > #names then
      server:close(done)
      return
    end
    visit(port, names[i], nil, function(result)
      check(i, result)
      step()
    end)
  end
  step()
end

describe('SNI', function()
  local alpha, beta = contextFor 'alpha.test', contextFor 'beta.test'

  local function choosing(name, callback)
    it(name, spec.async(function(done, expect)
      local server
      server = T.serve({ SNICallback = callback }, function(socket)
        assert.is_string(socket.servername)
        socket:finish()
      end, function(port)
        visitAll(server, port, { 'alpha.test', 'beta.test', 'other.test' }, expect(function(i, result)
          assert.equal(({ 'alpha.test', 'beta.test', 'localhost' })[i], result)
        end, 3), done)
      end)
    end))
  end

  local contexts = { ['alpha.test'] = alpha, ['beta.test'] = beta }
  choosing('is answered by a callback that answers at once', function(servername, callback)
    callback(nil, contexts[servername])
  end)
  choosing('is answered by a callback that answers later', function(servername, callback)
    setImmediate(callback, nil, contexts[servername])
  end)
  choosing('is answered by a callback that returns the context', function(servername)
    return contexts[servername] or false
  end)
  choosing('takes the first of two answers', function(servername, callback)
    callback(nil, contexts[servername])
    callback(nil, beta)
    setImmediate(callback, nil, beta)
  end)

  local function failing(name, callback, code, message)
    T.eachVersion(it, name, function(version, done, expect)
      local server
      server = T.serve({ SNICallback = callback, minVersion = version, maxVersion = version }, nil, function(port)
        visit(port, 'alpha.test', nil, expect(function(result)
          assert.matches('ALERT_INTERNAL_ERROR', result.code)
          server:close(done)
        end))
      end)
      server:on('tlsClientError', expect(function(err)
        assert.equal(code, err.code)
        assert.matches(message, err.message, 1, true)
        assert.is_string(err.stack)
      end))
    end)
  end

  failing('fails with the error the callback is given', function(_, callback)
    callback(Error('no such name'))
  end, nil, 'no such name')
  failing('fails with the error the callback is given later', function(_, callback)
    setImmediate(callback, Error('no such name, later'))
  end, nil, 'no such name, later')
  failing('fails with what the callback throws', function()
    error('thrown in the callback')
  end, nil, 'thrown in the callback')
  failing('refuses what is not a context', function(_, callback)
    callback(nil, { key = 'x' })
  end, 'ERR_TLS_INVALID_CONTEXT', 'Invalid SNI context')

  it('ends by the handshake timeout when nobody answers; later answers do nothing', spec.async(function(done, expect)
    local server, late
    server = T.serve({ handshakeTimeout = T.handshakeTimeout, SNICallback = function(_, callback)
      late = callback
    end }, nil, function(port)
      visit(port, 'alpha.test', nil, expect(function(result)
        assert.equal('ECONNRESET', result.code)
        late(nil, alpha)
        late(Error('much later'))
        server:close(done)
      end))
    end)
    server:on('tlsClientError', expect(function(err)
      assert.equal('ERR_TLS_HANDSHAKE_TIMEOUT', err.code)
    end))
  end))

  it('tells the server when the client leaves while it waits', spec.async(function(done, expect)
    local server, client, late
    server = T.serve({ SNICallback = function(_, callback)
      late = callback
      client:destroy()
    end }, nil, function(port)
      client = T.connect(port)
      client:on('close', expect())
    end)
    server:on('tlsClientError', expect(function(err)
      assert.equal('ECONNRESET', err.code)
      late(nil, alpha)
      server:close(done)
    end))
  end))

  it('survives the socket being destroyed while it waits', spec.async(function(done, expect)
    local server, accepted
    server = T.serve({ SNICallback = function(_, callback)
      accepted[1]:destroy()
      callback(nil, alpha)
      setImmediate(callback, nil, beta)
    end }, nil, function(port)
      visit(port, 'alpha.test', nil, expect(function(result)
        assert.equal('ECONNRESET', result.code)
        server:close(done)
      end))
    end)
    server:on('tlsClientError', expect())
    accepted = T.accepted(server)
  end))

  it('is not asked when the client names nobody', spec.async(function(done, expect)
    local server
    server = T.serve({ SNICallback = function()
      error('asked')
    end }, expect(function(socket)
      assert.is_false(socket.servername)
      socket:finish()
    end), function(port)
      local client = tls.connect { port = port, host = '127.0.0.1', ca = T.ca.cert }
      client:resume()
      client:on('close', expect(function()
        server:close(done)
      end))
    end)
  end))

  it('uses contexts added by name, with wildcards, the last match first', spec.async(function(done, expect)
    local server
    server = T.serve({}, function(socket)
      socket:finish()
    end, function(port)
      local expected = { 'localhost', 'alpha.test', 'beta.test', 'beta.test', 'localhost', 'gamma' }
      visitAll(server, port,
        { 'none.test', 'alpha.test', 'x.wild.test', 'X.WILD.test', 'a.b.wild.test', 'exact.wild.test' },
        expect(function(i, result)
          assert.equal(expected[i], result)
        end, #expected), done)
    end)
    server:addContext('alpha.test', alpha)
    server:addContext('*.wild.test', beta)
    local gamma = T.ca:issue { names = { 'exact.wild.test' }, cn = 'gamma' }
    server:addContext('exact.wild.test', { key = gamma.key, cert = gamma.cert })
  end))

  it('refuses contexts without a name', function()
    local server = tls.createServer()
    for _, name in ipairs { '', false } do
      local ok, err = pcall(server.addContext, server, name or nil, alpha)
      assert.is_false(ok)
      assert.equal('ERR_TLS_REQUIRED_SERVER_NAME', err.code)
    end
  end)

  it('does not resume a session under another name', spec.async(function(done, expect)
    local server
    server = T.serve({ maxVersion = 'TLSv1.2' }, function(socket)
      socket:on('error', function() end)
      socket:finish()
    end, function(port)
      local session
      local first = T.connect(port, { servername = 'alpha.test' })
      first:resume()
      first:on('session', function(data)
        session = data
      end)
      first:on('close', expect(function()
        local second
        second = T.connect(port, { servername = 'beta.test', session = session }, expect(function()
          assert.is_false(second:isSessionReused())
          assert.equal('beta.test', second:getPeerCertificate().subject.CN)
        end))
        second:resume()
        second:on('close', expect(function()
          server:close(done)
        end))
      end))
    end)
    server:addContext('alpha.test', alpha)
    server:addContext('beta.test', beta)
  end))
end)

describe('names of contexts', function()
  it('match as the documentation says', function()
    local names = Names()
    names:add('*.example.com', 'star')
    names:add('a.example.com', 'exact')
    names:add('w*.example.org', 'prefix')
    names:add('*', 'any label')
    local cases = {
      ['b.example.com'] = 'star', ['a.example.com'] = 'exact', ['A.Example.COM'] = 'exact',
      ['www.example.org'] = 'prefix', ['x.example.org'] = nil, ['localhost'] = 'any label',
      ['a.b.example.com'] = nil, ['example.com'] = nil, ['.example.com'] = 'star',
    }
    for name, expected in pairs(cases) do
      assert.equal(expected, names:find(name))
    end
    assert.is_nil(names:find('x.example.org'))
    assert.is_nil(names:find('a.b.example.com'))
    names:add('a.example.com', 'later')
    names:add('*.example.com', 'last')
    assert.equal('last', names:find('a.example.com'))
  end)
end)
