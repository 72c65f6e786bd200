-- Mail over STARTTLS (RFC 3207): a server that takes messages and prints them, and a client that sends one.
--
--   moonlatch examples/starttls_smtp.lua server [port] [key.pem cert.pem]
--   moonlatch examples/starttls_smtp.lua client PORT [ca.pem [host]] < message
--
-- Without files the server makes a certificate for localhost and leaves its authority's in smtp-ca.pem, which is where
-- the client looks. Another client:
--   openssl s_client -connect localhost:2525 -starttls smtp -CAfile smtp-ca.pem
local fs = require 'fs'
local net = require 'net'
local tls = require 'tls'

local NAME = 'localhost'

local LONGEST_LINE = 2000 -- RFC 5321, 4.5.3.1.6 asks for half of that

-- Calls onLine(line) for every line. Returns a function that stops it and puts what came behind the last line back
-- into the socket: when TLS begins, that belongs to TLS.
local function eachLine(socket, onLine)
  local rest, from, going = '', 1, true
  local function onData(chunk)
    rest, from = rest:sub(from) .. chunk, 1
    local at = rest:find('\n', 1, true)
    while at and going do
      local line = rest:sub(from, at - 1):gsub('\r$', '')
      from = at + 1
      onLine(line)
      at = rest:find('\n', from, true)
    end
    if #rest - from > LONGEST_LINE then
      socket:destroy 'a line without an end'
    end
  end
  socket:on('data', onData)
  return function()
    going = false
    socket:removeListener('data', onData)
    socket:pause()
    if from <= #rest then
      socket:unshift(rest:sub(from))
    end
  end
end

-- ---- The server ----

local function identity(keyFile, certFile)
  if certFile then
    return { key = fs.readFileSync(keyFile), cert = fs.readFileSync(certFile) }
  end
  local spec = require 'moonlatch.spec'
  local ca = spec.ca { name = 'SMTP example authority' }
  local leaf = ca:issue { names = { 'localhost', '127.0.0.1', '::1' } }
  fs.writeFileSync('smtp-ca.pem', ca.cert)
  return { key = leaf.key, cert = leaf.cert }
end

-- One session over `socket`, plain or secure. `startTls`, where there still is TLS to begin, is called for STARTTLS.
local function serveMail(socket, startTls)
  local commands, message, stop = {}, nil, nil
  local function reply(text)
    socket:write(text .. '\r\n')
  end
  local secureOnly = startTls and function()
    reply '530 Must issue a STARTTLS command first'
  end

  function commands.EHLO()
    reply('250-' .. NAME)
    if startTls then
      reply '250-STARTTLS'
    end
    reply '250 8BITMIME'
  end
  commands.HELO = function()
    reply('250 ' .. NAME)
  end
  commands.NOOP = function()
    reply '250 OK'
  end
  function commands.QUIT()
    socket:finish '221 Bye\r\n'
  end
  commands.STARTTLS = startTls and function()
    stop()
    reply '220 Go ahead'
    startTls()
  end
  local function accept()
    reply '250 OK'
  end
  commands.MAIL = secureOnly or accept
  commands.RCPT = secureOnly or accept
  commands.DATA = secureOnly or function()
    message = {}
    reply '354 End with a line that holds a full stop alone'
  end

  stop = eachLine(socket, function(line)
    if message and line == '.' then
      print('message:\n' .. table.concat(message, '\n'))
      message = nil
      reply '250 Taken'
    elseif message then
      message[#message + 1] = line:gsub('^%.', '')
    else
      local command = commands[(line:match('^%a+') or ''):upper()]
      if command then
        command()
      else
        reply '502 Command not implemented'
      end
    end
  end)
  socket:on('error', function(err)
    print('connection failed: ' .. tostring(err))
  end)
end

local function serve(port, keyFile, certFile)
  local options = identity(keyFile, certFile)
  options.isServer = true
  options.secureContext = tls.createSecureContext(options)
  local server = net.createServer(function(plain)
    plain:write(('220 %s ESMTP\r\n'):format(NAME))
    serveMail(plain, function()
      local secure = tls.TLSSocket(plain, options)
      secure:on('secure', function()
        print(('secure: %s, %s'):format(secure:getProtocol(), secure:getCipher().name))
      end)
      -- The client starts over: what it said in plain text does not count (RFC 3207, 4.2).
      serveMail(secure)
    end)
  end)
  server:listen(port, function()
    print('listening on port ' .. server:address().port)
  end)
end

-- ---- The client ----

-- Says each line when the reply to the one before has come, and calls `done` after the last. A reply that is not what
-- was expected ends the session.
local function converse(socket, script, done)
  local step, stop = 1, nil
  stop = eachLine(socket, function(line)
    local code, more = line:match('^(%d%d%d)(%-?)')
    if more == '-' then
      return
    end
    if code ~= script[step].expect then
      socket:destroy(('%s was expected, and came: %s'):format(script[step].expect, line))
      return
    end
    local say = script[step].say
    step = step + 1
    if say then
      socket:write(say .. '\r\n')
    end
    if not script[step] then
      stop()
      done()
    end
  end)
end

local function fail(err)
  io.stderr:write(tostring(err), '\n')
  process.exitCode = 1
end

local function send(port, caFile, host, message)
  local plain = net.connect(port, host)
  local function secureSession()
    local secure = tls.connect { socket = plain, host = host, ca = fs.readFileSync(caFile) }
    secure:on('error', fail)
    secure:on('secureConnect', function()
      secure:write('EHLO client.example\r\n')
      converse(secure, {
        { expect = '250', say = 'MAIL FROM:<ada@client.example>' },
        { expect = '250', say = 'RCPT TO:<postmaster@localhost>' },
        { expect = '250', say = 'DATA' },
        { expect = '354', say = message:gsub('\r?\n', '\r\n'):gsub('^%.', '..'):gsub('\n%.', '\n..') .. '\r\n.' },
        { expect = '250', say = 'QUIT' },
        { expect = '221' },
      }, function()
        print('sent over ' .. secure:getProtocol())
        secure:finish()
        secure:resume()
      end)
    end)
  end
  plain:on('error', fail)
  converse(plain, {
    { expect = '220', say = 'EHLO client.example' },
    { expect = '250', say = 'STARTTLS' },
    { expect = '220' },
  }, secureSession)
end

local role, port = process.argv[3], tonumber(process.argv[4])
if role == 'server' then
  serve(port or 2525, process.argv[5], process.argv[6])
elseif role == 'client' and port then
  local message = ''
  process.stdin:on('data', function(chunk)
    message = message .. chunk
  end)
  process.stdin:on('end', function()
    send(port, process.argv[5] or 'smtp-ca.pem', process.argv[6] or 'localhost', (message:gsub('\r?\n$', '')))
  end)
else
  io.stderr:write('usage: moonlatch starttls_smtp.lua server [port [key.pem cert.pem]] | client PORT [ca.pem [host]]\n')
  process.exit(2)
end

process:on('SIGTERM', function()
  process.exit(0)
end)
