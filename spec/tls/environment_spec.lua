--- What the command line and the environment say about TLS, seen from outside: each case runs the program.
local fs = require 'fs'
local program = require 'spec.support.program'
local spec = require 'moonlatch.spec'
local T = require 'spec.support.tls'

-- Connects to a server of its own and prints what came of it. Trust comes from the environment.
local CONNECT = [[
local tls, fs = require 'tls', require 'fs'
local server
server = tls.createServer({ key = fs.readFileSync(arg[1]), cert = fs.readFileSync(arg[2]) }, function(socket)
  socket:finish('x')
end)
server:listen(0, '127.0.0.1', function()
  local client
  client = tls.connect({ port = server:address().port, host = '127.0.0.1', servername = 'localhost' }, function()
    print(client:getProtocol(), client:getCipher().name)
  end)
  client:resume()
  client:on('error', function(err) print(err.code) end)
  client:on('close', function() server:close() end)
end)
server:on('tlsClientError', function() end)
]]

local function inDirectory(fn)
  spec.tempdir(function(dir)
    local function file(name, text)
      fs.writeFileSync(dir .. '/' .. name, text)
      return dir .. '/' .. name
    end
    local script, key = file('connect.lua', CONNECT), file('key.pem', T.localhost.key)
    local cert, ca = file('cert.pem', T.localhost.cert), file('ca.pem', T.ca.cert)
    fn(function(options, env)
      local words = { unpack(options) }
      words[#words + 1], words[#words + 2], words[#words + 3] = script, key, cert
      return program.run(words, { env = env })
    end, { ca = ca, dir = dir, file = file })
  end)
end

describe('the TLS environment', function()
  it('trusts MOONLATCH_EXTRA_CA_CERTS and NODE_EXTRA_CA_CERTS', function()
    inDirectory(function(run, files)
      assert.matches('^[%u_]+\n', run({}).out)
      assert.matches('^TLSv1.3', run({}, { MOONLATCH_EXTRA_CA_CERTS = files.ca }).out)
      assert.matches('^TLSv1.3', run({}, { NODE_EXTRA_CA_CERTS = files.ca }).out)
    end)
  end)

  it('warns about extra certificates that cannot be loaded and goes on', function()
    inDirectory(function(run, files)
      local bad = files.file('bad.pem', 'no certificate')
      local result = run({}, { MOONLATCH_EXTRA_CA_CERTS = bad })
      assert.equal(0, result.status)
      assert.matches('Ignoring extra certs from `' .. bad, result.err, 1, true)
      assert.matches('UNABLE_TO', result.out)
    end)
  end)

  it('honours SSL_CERT_FILE with --use-openssl-ca only', function()
    inDirectory(function(run, files)
      assert.matches('UNABLE_TO', run({}, { SSL_CERT_FILE = files.ca }).out)
      assert.matches('^TLSv1.3', run({ '--use-openssl-ca' }, { SSL_CERT_FILE = files.ca }).out)
    end)
  end)

  it('takes default versions and ciphers from options', function()
    inDirectory(function(run, files)
      local env = { MOONLATCH_EXTRA_CA_CERTS = files.ca }
      assert.matches('^TLSv1.2', run({ '--tls-max-v1.2' }, env).out)
      assert.matches('^TLSv1.3%s+TLS_AES_128_GCM_SHA256', run({ '--tls-cipher-list=TLS_AES_128_GCM_SHA256' }, env).out)
      env.MOONLATCH_OPTIONS = '--tls-max-v1.2'
      assert.matches('^TLSv1.2', run({}, env).out)
    end)
  end)

  it('logs keys to --tls-keylog and SSLKEYLOGFILE', function()
    inDirectory(function(run, files)
      local path = files.dir .. '/keys'
      local result = run({ '--tls-keylog=' .. path }, { MOONLATCH_EXTRA_CA_CERTS = files.ca })
      assert.matches('insecure', result.err)
      assert.matches('CLIENT_TRAFFIC_SECRET_0 %x+ %x+\n', fs.readFileSync(path))
      local other = files.dir .. '/others'
      run({}, { MOONLATCH_EXTRA_CA_CERTS = files.ca, SSLKEYLOGFILE = other })
      assert.matches('SERVER_TRAFFIC_SECRET_0 %x+ %x+\n', fs.readFileSync(other))
    end)
  end)

  it('gives OpenSSL the configuration of --openssl-config', function()
    inDirectory(function(run, files)
      local config = files.file('openssl.cnf', table.concat({
        'openssl_conf = init', '[init]', 'ssl_conf = ssl', '[ssl]', 'system_default = tls', '[tls]',
        'Ciphersuites = TLS_AES_128_GCM_SHA256', 'MaxProtocol = TLSv1.2', 'CipherString = DEFAULT:@SECLEVEL=5', '',
      }, '\n'))
      local result = run({ '--openssl-config=' .. config, '--tls-cipher-list=DEFAULT' },
        { MOONLATCH_EXTRA_CA_CERTS = files.ca })
      -- Level 5 has no room for a P-256 key: the configuration was read.
      assert.matches('EE_KEY_TOO_SMALL', result.out .. result.err)
    end)
  end)
end)
