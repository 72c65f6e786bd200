--- What the specs of renegotiation share.
local spec = require 'moonlatch.spec'
local N = require 'spec.support.node'
local T = require 'spec.support.tls'
local assert = require 'luassert'

local M = {}

local TLS12 = { maxVersion = 'TLSv1.2' }

--- A pair of ends of TLS 1.2 for `check(await, client, peer, expect)`; both are read and closed afterwards.
function M.between(options, check)
  return spec.coroutine(function(await, expect)
    local client, peer, close
    await(function(ready)
      N.securePair(function(...)
        client, peer, close = ...
        ready()
      end, { server = T.merged(TLS12, options.server), client = T.merged(TLS12, options.client) })
    end)
    check(await, client, peer, expect)
    client:destroy()
    peer:destroy()
    await(close)
  end)
end

--- The 'error' event of a socket.
function M.failureOf(await, socket)
  return await(function(failed)
    socket:once('error', function(err)
      failed(nil, err)
    end)
  end)
end

--- Renegotiates; it must succeed.
function M.renegotiate(await, socket, options)
  await(function(over)
    assert.is_true(socket:renegotiate(options or {}, over))
  end)
end

--- Calls back with what the callback of renegotiate() was given.
function M.outcome(await, socket, options)
  local returned
  local err = await(function(over)
    returned = socket:renegotiate(options or {}, function(err)
      over(nil, err)
    end)
  end)
  return returned, err
end

--- Listener of a server that sends back what it gets.
function M.echo(socket)
  socket:on('error', function() end)
  socket:pipe(socket)
end

return M
