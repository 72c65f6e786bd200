-- 'newSession': what a listener may do with a session, and what waits for it.
local spec = require 'moonlatch.spec'
local P = require 'spec.support.peers'
local S = require 'spec.support.sessions'
local T = require 'spec.support.tls'

local failures = S.failures

describe("'newSession'", function()
  -- { what it does, the listener, what tlsClientError says }
  local ANSWERS = {
    { 'may answer at once', function(_, _, callback)
      callback()
    end },
    { 'may answer later', function(_, _, callback)
      setImmediate(callback)
    end },
    { 'counts the first of two answers', function(_, _, callback)
      callback()
      callback(Error 'too late')
      setImmediate(callback, Error 'much too late')
    end },
    { 'ends the connection with the error that it is given', function(_, _, callback)
      callback(Error 'no store')
    end, 'no store' },
    { 'ends the connection with the error that it is given later', function(_, _, callback)
      setImmediate(callback, Error 'no store, later')
    end, 'no store, later' },
    { 'ends the connection with what it throws', function()
      error('thrown in the listener')
    end, 'thrown in the listener' },
    { 'ends the connection with what it throws after it has answered', function(_, _, callback)
      callback()
      error('thrown too late')
    end, 'thrown too late' },
  }

  for _, case in ipairs(ANSWERS) do
    S.eachVersion(it, case[1], function(await, version)
      local connections = 0
      local server, port = S.serve(await, S.limits(version), function()
        connections = connections + 1
      end)
      server:on('newSession', case[2])
      local errors = failures(server)
      local seen = S.visit(await, port)
      if case[3] then
        assert.equal(0, connections)
        assert.equal(1, #errors)
        assert.matches(case[3], errors[1].message, 1, true)
        assert.is_string(errors[1].stack)
        assert.same({}, seen.sessions)
        assert.equal('', seen.text)
      else
        assert.same({}, errors)
        assert.equal(1, connections)
        assert.equal(version == 'TLSv1.2' and 1 or 2, #seen.sessions)
        assert.equal('hello', seen.text)
      end
      P.close(await, server)
    end)
  end

  it('holds the end of a TLS 1.2 handshake until it has answered', spec.coroutine(function(await)
    local secure = {}
    local server, port = P.serve(await, S.limits 'TLSv1.2', function(socket)
      table.insert(secure, 'server')
      socket:finish()
      socket:resume()
    end)
    local client
    local stored = await(function(asked)
      server:on('newSession', function(_, _, callback)
        asked(nil, callback)
      end)
      client = T.connect(port, {}, function()
        table.insert(secure, 'client')
      end)
    end)
    for _ = 1, 10 do
      await(setImmediate)
    end
    assert.same({}, secure)
    stored()
    await(client:resume(), 'close')
    table.sort(secure)
    assert.same({ 'client', 'server' }, secure)
    P.close(await, server)
  end))

  it('holds the tickets of TLS 1.3 until it has answered, and what the client has sent', spec.coroutine(function(await)
    local got, secure = '', false
    local server, port = P.serve(await, S.limits 'TLSv1.3', function(socket)
      secure = true
      socket:on('data', function(chunk)
        got = got .. chunk
      end)
      socket:on('end', function()
        socket:finish('bye')
      end)
    end)
    local client
    local sessions, answers = 0, {}
    await(function(asked)
      server:on('newSession', function(_, _, callback)
        table.insert(answers, callback)
        if #answers == 1 then
          asked()
        end
      end)
      client = T.connect(port, { allowHalfOpen = true }, function()
        client:finish('sent early')
      end)
      client:on('session', function()
        sessions = sessions + 1
      end)
    end)
    for _ = 1, 10 do
      await(setImmediate)
    end
    -- The client has said all that it had to say, and has left, as far as it can. That is no failure.
    assert.is_false(secure)
    assert.equal(0, sessions)
    answers[1]()
    for _ = 1, 10 do
      await(setImmediate)
    end
    assert.equal(2, #answers)
    assert.equal(0, sessions)
    answers[2]()
    await(client:resume(), 'close')
    assert.equal('sent early', got)
    assert.equal(2, sessions)
    P.close(await, server)
  end))

  S.eachVersion(it, 'without an answer ends by the handshake timeout; later answers do nothing',
    function(await, version)
      local server, port = S.serve(await, S.limits(version, { handshakeTimeout = T.handshakeTimeout }))
      local late
      server:on('newSession', function(_, _, callback)
        late = callback
      end)
      local errors = failures(server)
      local seen = S.visit(await, port)
      assert.same({}, seen.sessions)
      assert.equal('ERR_TLS_HANDSHAKE_TIMEOUT', errors[1].code)
      late()
      late(Error 'much later')
      assert.equal(1, #errors)
      P.close(await, server)
    end)

  S.eachVersion(it, 'survives a client that breaks off while it waits', function(await, version, _, expect)
    local server, port = S.serve(await, S.limits(version))
    local client, late
    server:on('newSession', expect(function(_, _, callback)
      late = callback
      client:resetAndDestroy()
    end))
    client = T.connect(port)
    client:on('error', function() end)
    local err = await(function(failed)
      server:on('tlsClientError', function(reason)
        failed(nil, reason)
      end)
    end)
    assert.equal('ECONNRESET', err.code)
    late()
    P.close(await, server)
  end)

  it('tells the server when a client of TLS 1.2 leaves while it waits', P.test({}, function(await, _, expect)
    local server, port = S.serve(await, S.limits 'TLSv1.2')
    local client, late
    server:on('newSession', expect(function(_, _, callback)
      late = callback
      client:destroy()
    end))
    client = T.connect(port)
    local err = await(function(failed)
      server:on('tlsClientError', function(reason)
        failed(nil, reason)
      end)
    end)
    assert.equal('ECONNRESET', err.code)
    late()
    P.close(await, server)
  end))

  S.eachVersion(it, 'may answer after the server has closed', function(await, version)
    local server, port = S.serve(await, S.limits(version))
    local closed = false
    server:on('newSession', function(_, _, callback)
      if server.listening then
        server:close(function()
          closed = true
        end)
      end
      setImmediate(callback)
    end)
    assert.equal('hello', S.visit(await, port).text)
    if not closed then
      await(server, 'close')
    end
  end)

  S.eachVersion(it, 'survives the socket being destroyed while it waits', function(await, version, _, expect)
    local server, port = S.serve(await, S.limits(version))
    local accepted = T.accepted(server)
    server:on('tlsClientError', expect())
    server:on('newSession', expect(function(_, _, callback)
      accepted[1]:destroy()
      callback()
      setImmediate(callback)
    end))
    assert.equal('', S.visit(await, port).text)
    P.close(await, server)
  end)

  -- A connection of TLS 1.2 that is to be renegotiated; `listener` gets the callback of the second session.
  local function open(await, listener)
    local made = { stored = {}, sessions = {} }
    made.server, made.port = P.serve(await, S.limits('TLSv1.2', { sessionTimeout = 1234 }), function(socket)
      made.peer = socket
      socket:resume()
    end)
    made.server:on('newSession', function(id, data, callback)
      table.insert(made.stored, { id = id, data = data })
      if #made.stored == 1 then
        callback()
      else
        listener(callback)
      end
    end)
    made.client = T.connect(made.port)
    made.client:on('session', function(session)
      table.insert(made.sessions, session)
    end)
    await(made.client, 'secureConnect')
    return made
  end

  it('comes for the session that a renegotiation makes, which waits for nobody', P.test({}, function(await)
    local opened = open(await, function() end)
    await(function(done)
      opened.client:renegotiate({}, done)
    end)
    opened.client:finish('over')
    await(opened.client:resume(), 'close')
    local stored = opened.stored
    assert.equal(2, #stored)
    assert.equal(2, #opened.sessions)
    assert.equal(32, #stored[2].id)
    assert.not_equal(stored[1].id, stored[2].id)
    assert.is_true(S.lives(stored[2].data, 1234))
    P.close(await, opened.server)
  end))

  for how, listener in pairs {
    ['is given'] = function(callback)
      setImmediate(callback, Error 'no store')
    end,
    ['raises'] = function()
      error 'no store'
    end,
  } do
    it(('ends the connection with the error that it %s after a renegotiation'):format(how), P.test({}, function(await)
      local opened = open(await, listener)
      opened.client:on('error', function() end)
      opened.client:resume()
      local err = await(function(failed)
        opened.peer:on('error', function(err)
          failed(nil, err)
        end)
        opened.client:renegotiate({}, function() end)
      end)
      assert.matches('no store', err.message, 1, true)
      P.close(await, opened.server)
    end))
  end
end)
