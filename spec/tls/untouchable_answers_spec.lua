-- Answers of scripts that are tables which raise when they are looked into: they end the handshake, at once.
local constants = require 'constants'
local spec = require 'moonlatch.spec'
local tls = require 'tls'
local M = require 'spec.support.meeting'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'

local function untouchable()
  return setmetatable({}, { __index = function(_, name)
    error('nothing is called ' .. tostring(name), 0)
  end })
end

-- How a callback or a listener, whose last argument calls back, may give it.
local FORMS = {
  ['given as an error'] = function(callback)
    callback(untouchable())
  end,
  ['given as an error later'] = function(callback)
    setImmediate(callback, untouchable())
  end,
  thrown = function()
    error(untouchable(), 0)
  end,
}

local function last(act)
  return function(...)
    act((select(select('#', ...), ...)))
  end
end

local function alice()
  return { psk = 'a key of 24 random bytes', identity = 'alice' }
end

local ASKED = {
  OCSPRequest = { client = { requestOCSP = true } },
  newSession = { server = { maxVersion = 'TLSv1.2', secureOptions = constants.SSL_OP_NO_TICKET } },
  clientHello = {},
}

-- The errors of both ends. No handshake times out: the error came first.
local function errorsOf(await, options, clientOptions, prepare)
  local server = tls.createServer(T.identity(options))
  if prepare then
    prepare(server)
  end
  server:listen(0, '127.0.0.1')
  await(server, 'listening')
  local ofServer, ofClient = M.visit(await, server, clientOptions)
  P.close(await, server)
  return ofServer.error, ofClient.error
end

local function assertRaised(err)
  assert.equal('Error: nothing is called ', tostring(err):match('^.*called '))
  assert.is_string(err.stack)
end

describe('a table that raises when it is looked into', function()
  for form, act in pairs(FORMS) do
    for event, case in pairs(ASKED) do
      it(('ends the handshake, %s to a listener of %s'):format(form, event), spec.coroutine(function(await)
        local ofServer, ofClient = errorsOf(await, case.server, case.client, function(server)
          server:on(event, last(act))
        end)
        assertRaised(ofServer)
        assert.is_string(ofClient.code)
      end))
    end

    it(('ends the handshake, %s in SNICallback'):format(form), spec.coroutine(function(await)
      assertRaised((errorsOf(await, { SNICallback = function(_, callback)
        act(callback)
      end })))
    end))
  end

  for name, options in pairs {
    ['called back as a context by SNICallback'] = { SNICallback = function(_, callback)
      setImmediate(callback, nil, untouchable())
    end },
    ['returned by SNICallback'] = { SNICallback = untouchable },
    ['thrown by ALPNCallback'] = { ALPNCallback = FORMS.thrown },
    ['thrown by pskCallback'] = { pskCallback = FORMS.thrown, ciphers = 'PSK' },
    ['returned by pskCallback'] = { pskCallback = untouchable, ciphers = 'PSK' },
    ['thrown by pskCallback under TLS 1.2'] = { pskCallback = FORMS.thrown, ciphers = 'PSK', maxVersion = 'TLSv1.2' },
  } do
    it('ends the handshake, ' .. name, spec.coroutine(function(await)
      assertRaised((errorsOf(await, options, {
        ALPNProtocols = { 'a' }, ciphers = options.ciphers, pskCallback = options.pskCallback and alice,
      })))
    end))
  end

  for name, options in pairs {
    ['thrown by checkServerIdentity'] = { checkServerIdentity = FORMS.thrown },
    ['thrown by pskCallback'] = { pskCallback = FORMS.thrown },
    ['returned by pskCallback'] = { pskCallback = untouchable },
  } do
    it('ends the handshake of a client, ' .. name, spec.coroutine(function(await)
      local _, ofClient = errorsOf(await, {}, options)
      assertRaised(ofClient)
    end))
  end
end)
