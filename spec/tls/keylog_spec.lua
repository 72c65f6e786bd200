-- Key logs: the 'keylog' events, --tls-keylog and SSLKEYLOGFILE. That they are worth something is shown by tshark,
-- which reads captured connections with them.
local fs = require 'fs'
local Pcap = require 'spec.support.pcap'
local P = require 'spec.support.peers'
local program = require 'spec.support.program'
local spec = require 'moonlatch.spec'
local T = require 'spec.support.tls'

-- The conversation that tshark finds in the capture with the keys at hand, '' when it cannot read it.
local function decrypt(await, capture, keys)
  return spec.tempdir(function(dir)
    capture:write(dir .. '/capture.pcap')
    fs.writeFileSync(dir .. '/keys.log', keys)
    local status, stdout, stderr = P.run(await, { 'tshark', '-n', '-r', dir .. '/capture.pcap', '-o',
      'tls.keylog_file:' .. dir .. '/keys.log', '-q', '-z', 'follow,tls,ascii,0' }, { env = { HOME = dir } })
    assert(status == 0, stderr)
    return stdout
  end)
end

-- A client's conversation through a proxy; `during(await, client, peer)` may do more. Returns the capture and the keys.
local function converse(await, version, during)
  local keys, peer = {}, nil
  local server, port = P.serve(await, { maxVersion = version }, function(socket)
    peer = socket
    socket:on('error', function() end)
  end)
  local proxy, between, capture = Pcap.proxy(await, port)
  local client = T.connect(between)
  client:on('keylog', function(line)
    keys[#keys + 1] = line
  end)
  await(client, 'secureConnect')
  if not peer then
    await(server, 'secureConnection')
  end
  client:write('a question in private')
  assert.equal('a question in private', (await(peer, 'data')))
  if during then
    during(await, client, peer)
  end
  peer:finish('the answer')
  local got = {}
  client:on('data', function(chunk)
    got[#got + 1] = chunk
  end)
  await(client, 'end')
  P.close(await, proxy)
  P.close(await, server)
  return capture, table.concat(keys)
end

describe('a captured connection', function()
  for _, version in ipairs { 'TLSv1.2', 'TLSv1.3' } do
    it('can be read with the lines of keylog events, and not without (' .. version .. ')',
      spec.coroutine(function(await)
        local capture, keys = converse(await, version)
        local text = decrypt(await, capture, keys)
        assert.matches('a question in private', text)
        assert.matches('the answer', text)
        assert.is_nil(decrypt(await, capture, ''):find('private', 1, true))
      end))
  end

  it('can be read past new keys', spec.coroutine(function(await)
    local capture, keys = converse(await, 'TLSv1.3', function(pause, client, peer)
      client:updateKeys()
      client:write('with new keys')
      assert.equal('with new keys', (pause(peer, 'data')))
    end)
    assert.matches('with new keys', decrypt(await, capture, keys))
  end))

  it('can be read past a renegotiation, of which there are lines as well', spec.coroutine(function(await)
    local capture, keys = converse(await, 'TLSv1.2', function(pause, client, peer)
      pause(function(over)
        client:renegotiate({}, over)
      end)
      client:write('and once more')
      assert.equal('and once more', (pause(peer, 'data')))
    end)
    local _, lines = keys:gsub('CLIENT_RANDOM %x+ %x+\n', '')
    assert.equal(2, lines)
    assert.matches('and once more', decrypt(await, capture, keys))
  end))
end)

describe('the key log of the program', function()
  local SCRIPT = [[
    local tls, fs = require 'tls', require 'fs'
    local client = tls.connect { port = tonumber(arg[1]), host = '127.0.0.1', servername = 'localhost',
      ca = fs.readFileSync(arg[2]) }
    client:write('from the program')
    client:on('data', function(data)
      print(data)
      client:finish()
    end)
  ]]

  -- Runs the script against a server behind a proxy; `arguments(file)` and its environment say where the keys go.
  local function logged(await, arguments)
    return spec.tempdir(function(dir)
      local file = dir .. '/keys.log'
      fs.writeFileSync(dir .. '/client.lua', SCRIPT)
      fs.writeFileSync(dir .. '/ca.pem', T.ca.cert)
      local server, port = P.serve(await, {}, function(socket)
        socket:pipe(socket)
      end)
      local proxy, between, capture = Pcap.proxy(await, port)
      local argv, env = arguments(file)
      table.insert(argv, 1, program.path)
      for _, argument in ipairs { dir .. '/client.lua', tostring(between), dir .. '/ca.pem' } do
        argv[#argv + 1] = argument
      end
      local status, stdout, stderr = P.run(await, argv, { env = env })
      assert.equal(0, status, stderr)
      assert.equal('from the program\n', stdout)
      P.close(await, proxy)
      P.close(await, server)
      return capture, fs.readFileSync(file, 'utf8'), stderr
    end)
  end

  it('is written by --tls-keylog, with a warning', spec.coroutine(function(await)
    local capture, keys, stderr = logged(await, function(file)
      return { '--tls-keylog=' .. file }, {}
    end)
    assert.matches('from the program', decrypt(await, capture, keys))
    assert.matches('Warning: Using %-%-tls%-keylog makes TLS connections insecure', stderr)
  end))

  it('is written by SSLKEYLOGFILE', spec.coroutine(function(await)
    local capture, keys, stderr = logged(await, function(file)
      return {}, { SSLKEYLOGFILE = file }
    end)
    assert.matches('from the program', decrypt(await, capture, keys))
    assert.equal('', stderr)
  end))

  it('goes on at the end of a file that is there', spec.coroutine(function(await)
    local _, keys = logged(await, function(file)
      fs.writeFileSync(file, 'a line from before\n')
      return { '--tls-keylog=' .. file }, {}
    end)
    assert.matches('^a line from before\n%u+_', keys)
  end))

  it('is a warning where the file cannot be written', function()
    local outcome = program.run({ '--tls-keylog=/nonexistent/keys.log', '-e', 'require "tls" print "goes on"' })
    assert.equal('goes on\n', outcome.out)
    assert.matches('The TLS key log cannot be written: /nonexistent/keys.log: No such file', outcome.err, 1, true)
  end)
end)
