-- enableKTLS: the kernel encrypts where it can, and where it cannot nothing is different.
local constants = require 'constants'
local crypto = require 'crypto'
local fs = require 'fs'
local spec = require 'moonlatch.spec'
local tls = require 'tls'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'

local DATA = crypto.randomBytes(2 * 1024 * 1024)

-- Whether this kernel has it. Asking for it may be what loads the module, so not before a connection has.
local function kernelCan()
  local path = '/proc/sys/net/ipv4/tcp_available_ulp'
  return fs.existsSync(path) and (' ' .. fs.readFileSync(path, 'utf8')):find('%stls%s') ~= nil
end

-- An echo server and a client that sends a word and DATA to it and reads all that comes: what either said of the kernel
-- then.
local function exchange(await, serverOptions, clientOptions)
  local ofServer
  local server, port = P.serve(await, T.merged({ allowHalfOpen = true }, serverOptions), function(socket)
    socket:on('data', function(chunk)
      ofServer = socket:isKTLS()
      socket:write(chunk)
    end)
    socket:on('end', function()
      socket:finish()
    end)
  end)
  local client = T.connect(port, T.merged({ allowHalfOpen = true }, clientOptions))
  await(client, 'secureConnect')
  assert.is_false(client:isKTLS())
  -- The key changes hands when what was written first has left.
  client:write('?')
  await(client, 'data')
  client:finish(DATA)
  local parts, ofClient = {}, nil
  client:on('data', function(chunk)
    ofClient = client:isKTLS()
    parts[#parts + 1] = chunk
  end)
  await(client, 'close')
  assert.is_true(table.concat(parts) == DATA)
  assert.is_nil(client:isKTLS())
  P.close(await, server)
  return ofServer, ofClient
end

describe('enableKTLS', function()
  for _, version in ipairs { 'TLSv1.2', 'TLSv1.3' } do
    it('is used when the kernel can, and never needed (' .. version .. ')', spec.coroutine(function(await)
      local range = { minVersion = version, maxVersion = version }
      local wish = T.merged(range, { enableKTLS = true })
      for _, case in ipairs { { wish, range }, { range, wish }, { wish, wish } } do
        local ofServer, ofClient = exchange(await, case[1], case[2])
        local can = version == 'TLSv1.3' and kernelCan()
        assert.equal(can and case[1] == wish, ofServer)
        assert.equal(can and case[2] == wish, ofClient)
      end
    end))
  end

  it('may be said by OpenSSL\'s bit, and by a context', spec.coroutine(function(await)
    local context = tls.createSecureContext { enableKTLS = true, ca = T.ca.cert,
      secureOptions = constants.SSL_OP_ENABLE_KTLS + constants.SSL_OP_NO_TICKET }
    local ofServer, ofClient = exchange(await, { secureOptions = constants.SSL_OP_ENABLE_KTLS },
      { secureContext = context })
    assert.equal(kernelCan(), ofServer)
    assert.equal(kernelCan(), ofClient)
  end))

  it('is for the context that the name leads to', spec.coroutine(function(await)
    local chosen = tls.createSecureContext(T.identity { enableKTLS = true })
    local ofServer = exchange(await, {
      SNICallback = function(_, callback)
        callback(nil, chosen)
      end,
    }, {})
    assert.equal(kernelCan(), ofServer)
  end))

  it('takes true and false only', function()
    local ok, err = pcall(tls.createSecureContext, { enableKTLS = 'yes' })
    assert.is_false(ok)
    assert.equal('ERR_INVALID_ARG_TYPE', err.code)
    tls.createSecureContext { enableKTLS = false }
  end)
end)
