--- What the specs of renegotiation share.
local N = require 'spec.support.node'
local T = require 'spec.support.tls'
local assert = require 'luassert'

local M = {}

local TLS12 = { maxVersion = 'TLSv1.2' }

--- A test with a pair of ends of TLS 1.2, as spec.support.node has it.
function M.between(options, check)
  return N.withSecurePair({ server = T.merged(TLS12, options.server), client = T.merged(TLS12, options.client) }, check)
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
