-- --trace-tls, enableTrace and socket:enableTrace(): the messages of connections on stderr. Each case runs the program.
local fs = require 'fs'
local program = require 'spec.support.program'
local spec = require 'moonlatch.spec'
local tls = require 'tls'
local N = require 'spec.support.node'
local T = require 'spec.support.tls'

-- Two connections, one after the other. What a case wants is in the chunk TRACE, which may set options and call
-- methods.
local SCRIPT = [[
local tls, fs = require 'tls', require 'fs'
local identity = { key = fs.readFileSync(arg[1]), cert = fs.readFileSync(arg[2]) }
local serverOptions, clientOptions, secure = {}, { ca = fs.readFileSync(arg[3]) }, function() end
TRACE
for name, value in pairs(identity) do
  serverOptions[name] = value
end
local server = tls.createServer(serverOptions, function(socket)
  socket:finish('for no other eyes')
end)
server:on('tlsClientError', function(err) print(err.code) end)
local function connect(left)
  clientOptions.port, clientOptions.host, clientOptions.servername = server:address().port, '127.0.0.1', 'localhost'
  local client
  client = tls.connect(clientOptions, function()
    secure(client)
  end)
  client:on('error', function() end)
  client:on('data', function(data) print(data) end)
  client:on('close', function()
    if left > 1 then
      connect(left - 1)
    else
      server:close()
    end
  end)
end
server:listen(0, '127.0.0.1', function() connect(2) end)
]]

local function run(change, ...)
  local arguments = { ... }
  return spec.tempdir(function(dir)
    local function file(name, text)
      fs.writeFileSync(dir .. '/' .. name, text)
      arguments[#arguments + 1] = dir .. '/' .. name
    end
    file('script.lua', (SCRIPT:gsub('TRACE', function() return change end)))
    file('key.pem', T.localhost.key)
    file('cert.pem', T.localhost.cert)
    file('ca.pem', T.ca.cert)
    return program.run(arguments)
  end)
end

-- What was traced, by connection: { heading, rest }, in order.
local function connections(err)
  local list, byNumber = {}, {}
  for line in err:gmatch('[^\n]+') do
    local number, text = line:match('^TLS %d+%.(%d+): (.*)$')
    if number and not byNumber[number] then
      byNumber[number] = { heading = text, text = '' }
      list[#list + 1] = byNumber[number]
    elseif number then
      byNumber[number].text = byNumber[number].text .. text .. '\n'
    end
  end
  return list
end

describe('--trace-tls', function()
  local outcome = run('', '--trace-tls')

  it('warns, and prints nothing but lines that tell connections apart', function()
    assert.equal('for no other eyes\nfor no other eyes\n', outcome.out)
    for line in outcome.err:gmatch('[^\n]*\n') do
      assert.is_truthy(line:match('^TLS %d+%.%d+: .+\n$') or line:match('^%(moonlatch:%d+%) Warning: Enabling '
        .. '%-%-trace%-tls can expose sensitive data in the resulting log%.\n$'), line)
    end
  end)

  it('begins each connection with both ends', function()
    local list = connections(outcome.err)
    assert.equal(4, #list)
    for i, connection in ipairs(list) do
      local ours, theirs = 'client', 'server'
      if i % 2 == 0 then
        ours, theirs = theirs, ours
      end
      assert.matches(('^%s 127%%.0%%.0%%.1:%%d+, %s 127%%.0%%.0%%.1:%%d+$'):format(ours, theirs), connection.heading)
    end
  end)

  it('tells of handshake messages, records and alerts', function()
    for _, connection in ipairs(connections(outcome.err)) do
      for _, word in ipairs { 'ClientHello', 'ServerHello', 'Certificate', 'Finished', 'NewSessionTicket',
        'Content Type = ApplicationData', 'close notify' } do
        assert.is_truthy(connection.text:find(word, 1, true), word .. ' in ' .. connection.text)
      end
    end
  end)

  it('never prints application data', function()
    assert.is_nil(outcome.err:find('other eyes', 1, true))
  end)

  it('tells of the alert that ended a handshake', function()
    local failed = run('clientOptions.ca = {}', '--trace-tls')
    assert.equal(('ERR_SSL_TLSV1_ALERT_UNKNOWN_CA\n'):rep(2), failed.out)
    for _, connection in ipairs(connections(failed.err)) do
      assert.matches('Level=fatal%(2%), description=unknown CA%(48%)\n$', connection.text)
    end
  end)

  it('leaves out what says enableTrace = false', function()
    local list = connections(run('clientOptions.enableTrace = false', '--trace-tls').err)
    assert.equal(2, #list)
    assert.matches('^server', list[1].heading)
    assert.matches('^server', list[2].heading)
  end)
end)

describe('enableTrace', function()
  it('traces the connections of one server', function()
    local list = connections(run('serverOptions.enableTrace = true').err)
    assert.equal(2, #list)
    assert.matches('^server', list[1].heading)
    assert.matches('ClientHello', list[2].text)
  end)

  it('traces one client', function()
    local list = connections(run('clientOptions.enableTrace = true').err)
    assert.equal(2, #list)
    assert.matches('^client', list[1].heading)
    assert.matches('ClientHello', list[1].text)
  end)

  it('is a boolean', function()
    N.raises('ERR_INVALID_ARG_TYPE', tls.connect, { port = 1, enableTrace = 1 })
    N.raises('ERR_INVALID_ARG_TYPE', tls.createServer, { enableTrace = 'yes' })
  end)
end)

describe('socket:enableTrace', function()
  it('traces from then on', function()
    local outcome = run('secure = function(client) client:enableTrace() client:enableTrace() end')
    for _, connection in ipairs(connections(outcome.err)) do
      assert.matches('^client', connection.heading)
      assert.is_nil(connection.text:find('ClientHello', 1, true))
      assert.matches('close notify', connection.text)
    end
    assert.equal(2, #connections(outcome.err))
  end)

  it('does nothing to a socket that is closed, and waits for one that is not connected', function()
    local socket = tls.TLSSocket()
    socket:enableTrace()
    socket:destroy()
    socket:enableTrace()
  end)
end)
