-- Sessions in a store of the script's: the events 'newSession' and 'resumeSession', under TLS 1.2 with session ids and
-- under TLS 1.3 with identities that look the same.
local spec = require 'moonlatch.spec'
local P = require 'spec.support.peers'
local S = require 'spec.support.sessions'
local T = require 'spec.support.tls'

local ID_SIZE = 32
local failures, withSession = S.failures, S.withSession

describe('a store of sessions', function()
  S.eachVersion(it, 'makes them last as long as it does', function(await, version)
    local server, port = S.serve(await, S.limits(version))
    local store = S.keep(server)
    local first = S.visit(await, port, { maxVersion = version })
    assert.is_false(first.reused)
    assert.same({}, store.asked)
    assert.equal(#first.sessions, #store.made)
    for _, id in ipairs(store.made) do
      assert.equal(ID_SIZE, #id)
    end
    local second = S.visit(await, port, { session = first.session })
    assert.is_true(second.reused)
    assert.equal(version, second.protocol)
    assert.equal('hello', second.text)
    assert.same({ store.made[#first.sessions] }, store.asked)
    P.close(await, server)
  end)

  S.eachVersion(it, 'serves servers that have nothing else in common', function(await, version)
    local shared = S.limits(version, { sessionIdContext = 'many servers' })
    local one, onePort = S.serve(await, shared)
    local two, twoPort = S.serve(await, shared)
    local store = S.keep(one)
    two:on('newSession', function(id, data, callback)
      store.sessions[id] = data
      setImmediate(callback)
    end)
    two:on('resumeSession', function(id, callback)
      setImmediate(callback, nil, store.sessions[id])
    end)
    local session = S.visit(await, onePort).session
    for _, port in ipairs { twoPort, onePort, twoPort } do
      local seen = S.visit(await, port, { session = session })
      assert.is_true(seen.reused)
      session = seen.session or session
    end
    P.close(await, one)
    P.close(await, two)
  end)

  S.eachVersion(it, 'serves clients of Node’s', function(await, version)
    local server, port = P.serve(await, S.limits(version), function(socket)
      socket:pipe(socket)
    end)
    local store = S.keep(server)
    local seen = P.nodeClient(await, port, { RESUME = 'yes', MAX_VERSION = version })
    assert.equal('true', seen.reused)
    assert.equal('well', seen.closed)
    assert.equal(1, #store.asked)
    P.close(await, server)
  end)

  it('hears of both sessions of TLS 1.3, one after the other, and each can be resumed', P.test({},
    function(await)
      local server, port = S.serve(await, S.limits 'TLSv1.3')
      local sessions, open = {}, 0
      server:on('newSession', function(id, data, callback)
        open = open + 1
        assert.equal(1, open)
        table.insert(sessions, id)
        sessions[id] = data
        setImmediate(function()
          open = open - 1
          callback()
        end)
      end)
      server:on('resumeSession', function(id, callback)
        callback(nil, sessions[id])
      end)
      local first = S.visit(await, port)
      assert.equal(2, #first.sessions)
      assert.equal(2, #sessions)
      assert.not_equal(sessions[1], sessions[2])
      for i, session in ipairs(first.sessions) do
        -- The identity is the id, and the client has it where a ticket would be.
        assert.truthy(session:find(sessions[i], 1, true))
        local seen = S.visit(await, port, { session = session })
        assert.is_true(seen.reused)
        assert.equal(1, #seen.sessions)
      end
      assert.equal(4, #sessions)
      P.close(await, server)
    end))

  it('is not asked for the session id of a TLS 1.3 client, which is random', P.test({}, function(await, files)
    local server, port = P.serve(await, {}, function(socket)
      socket:pipe(socket)
    end)
    local store = S.keep(server)
    -- Middlebox compatibility mode (RFC 8446, D.4) is on by default.
    P.sClientEcho(await, port, { '-CAfile', files.ca })
    assert.equal(2, #store.made)
    assert.same({}, store.asked)
    P.close(await, server)
  end))

  -- Nobody can tell it from the id of an earlier session, which such a client would send as well (RFC 8446, 4.1.2).
  it('is asked for it all the same by a server that stops at TLS 1.2', P.test({}, function(await)
    local server, port = S.serve(await, S.limits 'TLSv1.2')
    local store = S.keep(server)
    assert.is_false(S.visit(await, port).reused)
    assert.equal(1, #store.asked)
    assert.is_nil(store.sessions[store.asked[1]])
    P.close(await, server)
  end))

  it('is asked when the server has to say HelloRetryRequest', P.test({}, function(await)
    local server, port = S.serve(await, S.limits('TLSv1.3', { ecdhCurve = 'P-384' }))
    local store = S.keep(server)
    local first = S.visit(await, port)
    assert.is_true(S.visit(await, port, { session = first.session }).reused)
    assert.equal(1, #store.asked)
    P.close(await, server)
  end))

  it('is left alone by clients of TLS 1.2 that get tickets, and bring them with a session id', P.test({},
    function(await)
      local server, port = S.serve(await, { maxVersion = 'TLSv1.2' })
      local store = S.keep(server)
      local first = S.visit(await, port, { maxVersion = 'TLSv1.2' })
      assert.is_string(first.ticket)
      assert.is_true(S.visit(await, port, { session = first.session, maxVersion = 'TLSv1.2' }).reused)
      assert.same({}, store.made)
      assert.same({}, store.asked)
      P.close(await, server)
    end))

  it('is asked by a server of TLS 1.2 that has no tickets, even if the client brings one', P.test({},
    function(await)
      local server, port = S.serve(await, { maxVersion = 'TLSv1.2', sessionIdContext = 'both' })
      local session = S.visit(await, port).session
      local other, otherPort = S.serve(await, S.limits('TLSv1.2', { sessionIdContext = 'both' }))
      local store = S.keep(other)
      local seen = S.visit(await, otherPort, { session = session })
      assert.is_false(seen.reused)
      assert.equal(1, #store.asked)
      assert.equal(1, #store.made)
      P.close(await, server)
      P.close(await, other)
    end))

  it('is asked under TLS 1.2 when the security level forbids tickets', P.test({}, function(await)
    local strong = { maxVersion = 'TLSv1.2', ciphers = 'DEFAULT@SECLEVEL=3' }
    local server, port = S.serve(await, strong)
    local store = S.keep(server)
    local first = S.visit(await, port, { maxVersion = 'TLSv1.2' })
    assert.is_true(S.visit(await, port, { session = first.session }).reused)
    assert.equal(1, #store.asked)
    P.close(await, server)
  end))

  it('hears of TLS 1.3 sessions that are in tickets, if it never asks for one', P.test({}, function(await)
    local server, port = S.serve(await, S.limits 'TLSv1.3')
    local made = 0
    server:on('newSession', function(id, data, callback)
      assert.equal(ID_SIZE, #id)
      assert.is_string(data)
      made = made + 1
      callback()
    end)
    local first = S.visit(await, port)
    assert.equal(2, made)
    assert.is_true(#first.ticket > ID_SIZE)
    assert.is_true(S.visit(await, port, { session = first.session }).reused)
    P.close(await, server)
  end))

  it('that is only asked leaves TLS 1.3 its tickets', P.test({}, function(await)
    local server, port = S.serve(await, S.limits 'TLSv1.3')
    server:on('resumeSession', function()
      error('asked')
    end)
    local first = S.visit(await, port)
    assert.is_true(#first.ticket > ID_SIZE)
    assert.is_true(S.visit(await, port, { session = first.session }).reused)
    P.close(await, server)
  end))

  it('takes over from tickets without dropping anybody', P.test({}, function(await)
    local server, port = S.serve(await, S.limits 'TLSv1.3')
    local first = S.visit(await, port)
    local store = S.keep(server)
    local second = S.visit(await, port, { session = first.session })
    assert.is_true(second.reused)
    assert.same({}, store.asked)
    assert.equal(ID_SIZE, #second.ticket)
    local third = S.visit(await, port, { session = second.session })
    assert.is_true(third.reused)
    assert.same({ second.ticket }, store.asked)
    P.close(await, server)
  end))

  S.eachVersion(it, 'is of no concern where sessionTimeout is zero', function(await, version)
    local server, port = S.serve(await, S.limits(version, { sessionIdContext = 'same' }))
    local store = S.keep(server)
    local session = S.visit(await, port).session
    local none, nonePort = S.serve(await, S.limits(version, { sessionIdContext = 'same', sessionTimeout = 0 }))
    none:on('newSession', error)
    none:on('resumeSession', error)
    local seen = S.visit(await, nonePort, { session = session })
    assert.is_nil(seen.error)
    assert.is_false(seen.reused)
    assert.is_true(#store.made > 0)
    P.close(await, server)
    P.close(await, none)
  end)
end)

describe("'resumeSession'", function()
  -- { what it does, a listener made of the stored data, whether the session is resumed, what tlsClientError says }
  local ANSWERS = {
    { 'may answer at once', function(data)
      return function(_, callback)
        callback(nil, data)
      end
    end, true },
    { 'may answer later', function(data)
      return function(_, callback)
        setImmediate(callback, nil, data)
      end
    end, true },
    { 'may answer with nothing', function()
      return function(_, callback)
        callback(nil, nil)
      end
    end, false },
    { 'may answer with nothing, later', function()
      return function(_, callback)
        setImmediate(callback)
      end
    end, false },
    { 'may answer false for nothing', function()
      return function(_, callback)
        callback(false, false)
      end
    end, false },
    { 'counts the first of two answers', function(data)
      return function(_, callback)
        callback(nil, nil)
        callback(nil, data)
        setImmediate(callback, nil, data)
        setImmediate(callback, Error 'much too late')
      end
    end, false },
    { 'counts the first of two answers, the later ones being failures', function(data)
      return function(_, callback)
        callback(nil, data)
        callback(Error 'too late')
        setImmediate(callback, Error 'much too late')
      end
    end, true },
    { 'does without a session that cannot be read', function()
      return function(_, callback)
        callback(nil, 'garbage')
      end
    end, false },
    { 'does without a session that is empty', function()
      return function(_, callback)
        callback(nil, '')
      end
    end, false },
    { 'does without a session that was cut short', function(data)
      return function(_, callback)
        setImmediate(callback, nil, data:sub(1, -2))
      end
    end, false },
    { 'does without a session whose time is over', function(data)
      return function(_, callback)
        callback(nil, S.aged(data, 301))
      end
    end, false },
    { 'takes a session whose time is nearly over', function(data)
      return function(_, callback)
        callback(nil, S.aged(data, 200))
      end
    end, true },
    { 'ends the handshake with the error that it is given', function()
      return function(_, callback)
        callback(Error 'no store')
      end
    end, nil, { 'no store' } },
    { 'ends the handshake with the error that it is given later', function()
      return function(_, callback)
        setImmediate(callback, Error 'no store, later')
      end
    end, nil, { 'no store, later' } },
    { 'ends the handshake with what it throws', function()
      return function()
        error('thrown in the listener')
      end
    end, nil, { 'thrown in the listener' } },
    { 'ends the handshake with what it throws after it has answered', function(data)
      return function(_, callback)
        callback(nil, data)
        error('thrown too late')
      end
    end, nil, { 'thrown too late', disconnected = true } },
    { 'refuses what is not a string', function()
      return function(_, callback)
        callback(nil, 5)
      end
    end, nil, { 'The "sessionData" argument must be of type string. Received type number (5)',
      code = 'ERR_INVALID_ARG_TYPE' } },
  }

  for _, case in ipairs(ANSWERS) do
    S.eachVersion(it, case[1], function(await, version)
      local server, port, session, store = withSession(await, version)
      local data = store.sessions[store.made[#store.made]]
      server:on('resumeSession', case[2](data))
      local errors = failures(server)
      local seen = S.visit(await, port, { session = session })
      local expected = case[4]
      assert.equal(case[3], seen.reused)
      if expected then
        assert.equal(1, #errors)
        assert.matches(expected[1], errors[1].message, 1, true)
        assert.equal(expected.code, errors[1].code)
        assert.is_string(errors[1].stack)
        assert.matches(expected.disconnected and 'ECONNRESET' or 'ALERT_INTERNAL_ERROR', seen.error.code)
      else
        assert.is_nil(seen.error)
        assert.same({}, errors)
        assert.equal('hello', seen.text)
      end
      P.close(await, server)
    end)
  end

  S.eachVersion(it, 'does without the session behind another id', function(await, version)
    local server, port, session, store = withSession(await, version)
    S.visit(await, port)
    server:on('resumeSession', function(id, callback)
      for other, data in pairs(store.sessions) do
        if other ~= id then
          return callback(nil, data)
        end
      end
    end)
    local seen = S.visit(await, port, { session = session })
    assert.is_nil(seen.error)
    assert.is_false(seen.reused)
    P.close(await, server)
  end)

  S.eachVersion(it, 'does without the session of another version', function(await, version)
    local other = version == 'TLSv1.2' and 'TLSv1.3' or 'TLSv1.2'
    local server, port, session = withSession(await, version, { sessionIdContext = 'same' })
    local second, _, _, store = withSession(await, other, { sessionIdContext = 'same' })
    server:on('resumeSession', function(id, callback)
      -- Its own id would tell, too.
      local theirs = store.made[1]
      local from, to = store.sessions[theirs]:find(theirs, 1, true)
      local data = store.sessions[theirs]
      callback(nil, data:sub(1, from - 1) .. id .. data:sub(to + 1))
    end)
    local seen = S.visit(await, port, { session = session })
    assert.is_nil(seen.error)
    assert.is_false(seen.reused)
    P.close(await, server)
    P.close(await, second)
  end)

  S.eachVersion(it, 'does without the session of another sessionIdContext', function(await, version)
    local one, _, session, store = withSession(await, version, { sessionIdContext = 'one' })
    local two, port = S.serve(await, S.limits(version, { sessionIdContext = 'two' }))
    two:on('resumeSession', function(id, callback)
      callback(nil, store.sessions[id])
    end)
    local seen = S.visit(await, port, { session = session })
    assert.is_nil(seen.error)
    assert.is_false(seen.reused)
    P.close(await, one)
    P.close(await, two)
  end)

  S.eachVersion(it, 'does without a session that was made without the certificate demanded now',
    function(await, version)
      local shared = { sessionIdContext = 'same', ca = T.ca.cert }
      local open, _, session, store = withSession(await, version, shared)
      local strict, port = S.serve(await, S.limits(version, T.merged(shared, { requestCert = true })))
      strict:on('resumeSession', function(id, callback)
        callback(nil, store.sessions[id])
      end)
      local errors = failures(strict)
      local stranger = S.visit(await, port, { session = session })
      assert.equal('ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE', errors[1].code)
      assert.equal('', stranger.text)
      local ada = T.ca:issue { cn = 'ada' }
      local seen = S.visit(await, port, { session = session, key = ada.key, cert = ada.cert })
      assert.is_false(seen.reused)
      assert.equal('hello', seen.text)
      P.close(await, open)
      P.close(await, strict)
    end)

  S.eachVersion(it, 'turns away who comes with the session of a certificate that was not good', function(await, version)
    local eve = spec.ca():issue { cn = 'eve' }
    local shared = { sessionIdContext = 'same', ca = T.ca.cert, requestCert = true }
    local lenient, port = S.serve(await, S.limits(version, T.merged(shared, { rejectUnauthorized = false })))
    local store = S.keep(lenient)
    local session = S.visit(await, port, { key = eve.key, cert = eve.cert }).session
    local strict, strictPort = S.serve(await, S.limits(version, shared))
    strict:on('resumeSession', function(id, callback)
      callback(nil, store.sessions[id])
    end)
    local errors = failures(strict)
    local seen = S.visit(await, strictPort, { session = session, key = eve.key, cert = eve.cert })
    assert.equal('', seen.text)
    assert.equal('UNABLE_TO_VERIFY_LEAF_SIGNATURE', errors[1].code)
    P.close(await, lenient)
    P.close(await, strict)
  end)

  S.eachVersion(it, 'brings back who the client was', function(await, version)
    local names = {}
    local server, port = S.serve(await, S.limits(version, { requestCert = true, ca = T.ca.cert }), function(socket)
      table.insert(names, socket:getPeerCertificate().subject.CN .. ' ' .. tostring(socket.authorized))
    end)
    S.keep(server)
    local ada = T.ca:issue { cn = 'ada' }
    local identity = { key = ada.key, cert = ada.cert }
    local first = S.visit(await, port, identity)
    assert.is_true(S.visit(await, port, T.merged(identity, { session = first.session })).reused)
    assert.same({ 'ada true', 'ada true' }, names)
    P.close(await, server)
  end)

  S.eachVersion(it, 'without an answer ends by the handshake timeout; later answers do nothing',
    function(await, version)
      local server, port, session, store = withSession(await, version, { handshakeTimeout = T.handshakeTimeout })
      local late
      server:on('resumeSession', function(_, callback)
        late = callback
      end)
      local errors = failures(server)
      local seen = S.visit(await, port, { session = session })
      assert.equal('ECONNRESET', seen.error.code)
      assert.equal('ERR_TLS_HANDSHAKE_TIMEOUT', errors[1].code)
      late(nil, store.sessions[store.made[1]])
      late(Error 'much later')
      assert.equal(1, #errors)
      P.close(await, server)
    end)

  S.eachVersion(it, 'tells the server when the client leaves while it waits', function(await, version, _, expect)
    local server, port, session, store = withSession(await, version)
    local client, late
    server:on('resumeSession', expect(function(_, callback)
      late = callback
      client:destroy()
    end))
    client = T.connect(port, { session = session })
    local err = await(function(failed)
      server:on('tlsClientError', function(reason)
        failed(nil, reason)
      end)
    end)
    assert.equal('ECONNRESET', err.code)
    late(nil, store.sessions[store.made[1]])
    P.close(await, server)
  end)

  S.eachVersion(it, 'may answer after the server has closed', function(await, version)
    local server, port, session, store = withSession(await, version)
    local closed = false
    server:on('resumeSession', function(id, callback)
      server:close(function()
        closed = true
      end)
      setImmediate(callback, nil, store.sessions[id])
    end)
    assert.is_true(S.visit(await, port, { session = session }).reused)
    if not closed then
      await(server, 'close')
    end
  end)

  S.eachVersion(it, 'survives the socket being destroyed while it waits', function(await, version, _, expect)
    local server, port, session, store = withSession(await, version)
    local accepted = T.accepted(server)
    server:on('tlsClientError', expect())
    server:on('resumeSession', function(id, callback)
      accepted[1]:destroy()
      callback(nil, store.sessions[id])
      setImmediate(callback, nil, store.sessions[id])
    end)
    assert.equal('ECONNRESET', S.visit(await, port, { session = session }).error.code)
    P.close(await, server)
  end)
end)
