-- examples/ocsp_stapling.lua with `openssl ocsp` behind it, and with responders that are no good.
local net = require 'net'
local process = require 'process'
local spec = require 'moonlatch.spec'
local P = require 'spec.support.peers'
local responder = require 'spec.support.responder'

local ca = spec.ca { name = 'Stapling authority' }
local SERIAL = '0123456789ABCDEF'
local serials = 0

-- A responder has to know the certificate, and the certificate where the responder is: its number is first.
local function number()
  serials = serials + 1
  return { serialNumber = SERIAL .. ('%02X'):format(serials) }
end

-- Starts the example with a certificate that names a responder on `port`.
local function start(await, files, port, known)
  local leaf = ca:issue { serial = known.serialNumber, ocspUri = ('http://127.0.0.1:%d/ocsp'):format(port) }
  local paths = {}
  for name, content in pairs { key = leaf.key, cert = leaf.cert, ca = ca.cert } do
    paths[name] = files.dir .. '/example-' .. name
    require('fs').writeFileSync(paths[name], content)
  end
  local server = spec.command({ process.execPath, 'examples/ocsp_stapling.lua', '0', paths.key, paths.cert, paths.ca },
    { input = false })
  return server, tonumber(P.waitFor(await, server, 'stdout', 'listening on port (%d+)\n')), leaf, paths.ca
end

local function visit(await, port, ca_)
  local _, stdout = P.run(await, { 'openssl', 's_client', '-status', '-connect', '127.0.0.1:' .. port, '-CAfile', ca_,
    '-verify_return_error', '-ign_eof' })
  assert.matches('\nhello\n', stdout)
  return stdout
end

local function count(text, pattern)
  return select(2, text:gsub(pattern, ''))
end

describe('examples/ocsp_stapling.lua', function()
  it('staples what openssl ocsp says, and asks it once', P.test({}, function(await, files)
    local known = number()
    local asked, responderPort = responder.new(files.dir, ca, { issued = { known }, arguments = { '-ndays', '1' } })
      :serve(await)
    local server, port, leaf, authority = start(await, files, responderPort, known)
    local text = visit(await, port, authority)
    assert.matches('Cert Status: good', text)
    assert.matches('Serial Number: ' .. leaf.serialNumber, text)
    -- From now on without a responder.
    P.stop(await, asked)
    assert.matches('Cert Status: good', visit(await, port, authority))
    P.waitFor(await, server, 'stdout', 'stapled\nstapled\n')
    assert.equal(1, count(server.stdout, 'the responder says: good until %u%l%l [^\n]* GMT\n'))
    P.stop(await, server)
  end))

  it('staples that its certificate is revoked', P.test({}, function(await, files)
    local known = number()
    local asked, responderPort = responder.new(files.dir, ca, { revoked = { keyCompromise = known } }):serve(await)
    local server, port, _, authority = start(await, files, responderPort, known)
    assert.matches('Cert Status: revoked', visit(await, port, authority))
    P.waitFor(await, server, 'stdout', 'the responder says: revoked until further notice\n')
    P.stop(await, asked)
    P.stop(await, server)
  end))

  it('asks once for clients that come together', P.test({}, function(await, files)
    local known = number()
    local requests, held = 0, {}
    local slow = net.createServer(function(socket)
      requests = requests + 1
      table.insert(held, socket)
      socket:resume()
    end)
    slow:listen(0, '127.0.0.1')
    await(slow, 'listening')
    local server, port, leaf, authority = start(await, files, slow:address().port, known)
    local clients = {}
    for i = 1, 3 do
      clients[i] = spec.command({ 'openssl', 's_client', '-status', '-connect', '127.0.0.1:' .. port, '-CAfile',
        authority, '-ign_eof' })
    end
    if requests == 0 then
      await(slow, 'connection')
    end
    held[1]:finish('HTTP/1.0 200 OK\r\nContent-Type: application/ocsp-response\r\n\r\n' .. ca:ocspResponse(leaf))
    for _, client in ipairs(clients) do
      P.over(await, client)
      assert.matches('Cert Status: good', client.stdout)
    end
    assert.equal(1, requests)
    slow:close()
    P.stop(await, server)
  end))

  -- What a responder answers, and what the example says of it.
  local bad = {
    { 'is down', nil, 'ECONNREFUSED' },
    { 'has an error page', function()
      return 'HTTP/1.0 500 Oh no\r\n\r\n<h1>Oh no</h1>'
    end, 'status 500' },
    { 'answers with garbage', function()
      return 'HTTP/1.0 200 OK\r\n\r\ngarbage'
    end, 'ERR_OCSP_MALFORMED_RESPONSE' },
    { 'speaks no HTTP', function()
      return 'hello'
    end, 'status nil' },
    { 'hangs up', function()
      return ''
    end, 'status nil' },
    { 'does not come to an end', function()
      return 'HTTP/1.0 200 OK\r\n\r\n' .. ('x'):rep(100000)
    end, 'does not come to an end' },
    { 'is a stranger', function(leaf)
      return 'HTTP/1.0 200 OK\r\n\r\n' .. ca:ocspResponse(leaf, { signer = spec.ca() })
    end, 'certificate verify error' },
    { 'says what was true yesterday', function(leaf)
      return 'HTTP/1.0 200 OK\r\n\r\n' .. ca:ocspResponse(leaf, { thisUpdate = -90000, nextUpdate = -3600 })
    end, 'status expired' },
    { 'speaks of another certificate', function()
      return 'HTTP/1.0 200 OK\r\n\r\n' .. ca:ocspResponse(ca:issue())
    end, 'OCSP unknown cert' },
    { 'asks to come back later', function(leaf)
      return 'HTTP/1.0 200 OK\r\n\r\n' .. ca:ocspResponse(leaf, { responseStatus = 'tryLater' })
    end, "answered 'tryLater'" },
    { 'does not know the certificate', function(leaf)
      return 'HTTP/1.0 200 OK\r\n\r\n' .. ca:ocspResponse(leaf, { status = 'unknown' })
    end, 'does not know the certificate' },
  }
  for _, case in ipairs(bad) do
    it(('staples nothing, and serves, when the responder %s'):format(case[1]), P.test({}, function(await, files)
      local leaf
      local fake = net.createServer(function(socket)
        socket:on('error', function() end)
        socket:once('data', function()
          socket:finish(case[2](leaf))
        end)
      end)
      fake:listen(0, '127.0.0.1')
      await(fake, 'listening')
      local responderPort = fake:address().port
      if not case[2] then
        fake:close()
      end
      local server, port, served, authority = start(await, files, responderPort, number())
      leaf = served
      assert.matches('OCSP response: no response sent', visit(await, port, authority))
      local said = P.waitFor(await, server, 'stdout', 'no news: ([^\n]*)\nnot stapled\n')
      assert.truthy(said:find(case[3], 1, true), said)
      if case[2] then
        fake:close()
      end
      P.stop(await, server)
    end))
  end
end)
