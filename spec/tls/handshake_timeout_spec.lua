-- handshakeTimeout passes while a handshake could go on, but has not had its turn. What it does to one that waits for
-- an answer is told where that answer is: sni, alpn, ocsp, sessions, new_session, psk_callbacks.
local net = require 'net'
local process = require 'process'
local H = require 'spec.support.hostile'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'

local context = require('tls').createSecureContext(T.identity())

-- Keeps the loop from everything else until the time of all handshakes that have begun is over.
local function hold()
  local over = process.uptime() + T.handshakeTimeout / 1000
  repeat until process.uptime() > over
end

-- Connections on which the server has begun to wait, with the bytes that the other end got.
local function crowd(await, guarded, size)
  local accepted, clients = T.accepted(guarded.server), {}
  for i = 1, size do
    local client = net.connect(guarded.port, '127.0.0.1')
    client:on('error', function() end)
    client:resume()
    clients[i] = client
  end
  while #accepted < size do
    await(setImmediate)
  end
  return clients
end

-- All of it arrives within one turn of the loop.
local function say(clients, hello)
  for _, client in ipairs(clients) do
    client:write(hello)
  end
end

local function assertTimedOut(await, guarded, clients)
  P.closed(await, unpack(clients))
  P.ownClientEcho(await, guarded.port, {}, 'still there?')
  P.close(await, guarded.server)
  assert.equal(#clients, #guarded.errors)
  for i, err in ipairs(guarded.errors) do
    assert.equal('ERR_TLS_HANDSHAKE_TIMEOUT', err.code)
    assert.is_true(guarded.sockets[i].destroyed)
  end
  assert.is_nil(guarded.socketError)
end

describe('handshakeTimeout', function()
  it('ends handshakes whose ClientHello waits for its turn, each once', P.test({}, function(await)
    local hello, asked = H.clientHello(await), 0
    local guarded = H.guard(await, { handshakeTimeout = T.handshakeTimeout, SNICallback = function(_, callback)
      asked = asked + 1
      if asked == 1 then
        hold()
      end
      callback(nil, context)
    end })
    local clients = crowd(await, guarded, 4)
    say(clients, hello)
    P.closed(await, unpack(clients))
    assert.equal(1, asked)
    assertTimedOut(await, guarded, clients)
  end))

  it('ends a handshake that has its answer and waits for its turn', P.test({}, function(await)
    local hello, answers, asked = H.clientHello(await, { ALPNProtocols = { 'a' } }), {}, 0
    local guarded = H.guard(await, {
      handshakeTimeout = T.handshakeTimeout,
      SNICallback = function(_, callback)
        answers[#answers + 1] = callback
        if #answers == 3 then
          setImmediate(function()
            for i = 1, 3 do
              answers[i](nil, context)
            end
          end)
        elseif #answers > 3 then
          callback(nil, context)
        end
      end,
      ALPNCallback = function()
        asked = asked + 1
        hold()
        return 'a'
      end,
    })
    local clients = crowd(await, guarded, 3)
    say(clients, hello)
    P.closed(await, unpack(clients))
    assert.equal(1, asked)
    for i = 1, 3 do
      answers[i](nil, context)
      answers[i](Error 'much later')
    end
    assertTimedOut(await, guarded, clients)
  end))

  it('is not held off by an answer that comes when the time is over', P.test({}, function(await)
    local late
    local guarded = H.guard(await, { handshakeTimeout = T.handshakeTimeout, SNICallback = function(_, callback)
      if late then
        callback(nil, context)
        return
      end
      late = callback
      setImmediate(function()
        hold()
        callback(nil, context)
      end)
    end })
    local client = T.connect(guarded.port)
    client:on('error', function() end)
    assertTimedOut(await, guarded, { client })
    late(nil, context)
    late(Error 'much later')
  end))

  it('ends a handshake that the script destroys in its turn no second time', P.test({}, function(await)
    local hello, asked = H.clientHello(await), 0
    local guarded
    local accepted
    guarded = H.guard(await, { handshakeTimeout = T.handshakeTimeout, SNICallback = function(_, callback)
      asked = asked + 1
      if asked == 1 then
        hold()
        for _, socket in ipairs(accepted) do
          socket:destroy()
        end
      end
      callback(nil, context)
    end })
    accepted = T.accepted(guarded.server)
    local clients = crowd(await, guarded, 2)
    say(clients, hello)
    P.closed(await, unpack(clients))
    P.ownClientEcho(await, guarded.port, {}, 'still there?')
    P.close(await, guarded.server)
    assert.equal(2, #guarded.errors)
    for _, err in ipairs(guarded.errors) do
      assert.equal('ECONNRESET', err.code)
    end
  end))
end)
