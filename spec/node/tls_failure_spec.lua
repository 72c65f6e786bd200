-- How TLS connections fail, as Node documents it: error, tlsClientError, authorizationError, error fields.

local net = require 'net'
local spec = require 'moonlatch.spec'
local tls = require 'tls'
local util = require 'util'
local N = require 'spec.support.node'
local T = require 'spec.support.tls'

local function ignore() end

-- One connection that fails. `check(clientError, serverError, client)` gets what each end reported.
local function failing(serverOptions, clientOptions, check)
  return spec.async(function(done, expect)
    local server, serverError
    server = T.serve(serverOptions, function(socket)
      socket:on('error', ignore)
      socket:resume()
    end, function(port)
      local client = T.connect(port, clientOptions)
      local clientError
      client:on('error', expect(function(err)
        clientError = err
      end))
      client:resume()
      client:on('close', expect(function(hadError)
        assert.is_true(hadError)
        server:close(function()
          check(clientError, serverError, client)
          done()
        end)
      end))
    end)
    server:on('tlsClientError', function(err, socket)
      assert.is_true(util.isInstance(socket, tls.TLSSocket))
      assert.is_nil(serverError)
      serverError = err
    end)
  end)
end

local selfSigned = spec.selfSigned { names = { 'localhost' } }
local other = spec.ca { name = 'Somebody else' }

describe('a server certificate that does not verify', function()
  it('is told by error, authorized and authorizationError (rejectUnauthorized, authorizationError)',
    failing({}, { ca = other.cert }, function(err, _, client)
      assert.equal('UNABLE_TO_VERIFY_LEAF_SIGNATURE', err.code)
      assert.equal('unable to verify the first certificate', err.message)
      assert.is_false(client.authorized)
      assert.equal('UNABLE_TO_VERIFY_LEAF_SIGNATURE', client.authorizationError)
    end))

  it('may be self-signed (authorizationError)',
    failing({ key = selfSigned.key, cert = selfSigned.cert }, {}, function(err, _, client)
      assert.equal('DEPTH_ZERO_SELF_SIGNED_CERT', err.code)
      assert.equal('self-signed certificate', err.message)
      assert.equal('DEPTH_ZERO_SELF_SIGNED_CERT', client.authorizationError)
    end))

  it('may come with its unknown authority (authorizationError)',
    failing({ cert = T.localhost.cert .. T.ca.cert }, { ca = other.cert }, function(err)
      assert.equal('SELF_SIGNED_CERT_IN_CHAIN', err.code)
    end))

  it('may be for another name (checkServerIdentity)',
    failing({}, { servername = 'example.org' }, function(err, _, client)
      assert.equal('ERR_TLS_CERT_ALTNAME_INVALID', err.code)
      assert.equal('example.org', err.host)
      assert.equal('localhost', err.cert.subject.CN)
      assert.equal("Host: example.org. is not in the cert's altnames: DNS:localhost, IP Address:127.0.0.1, "
        .. 'IP Address:0:0:0:0:0:0:0:1', err.reason)
      assert.equal("Hostname/IP does not match certificate's altnames: " .. err.reason, err.message)
      assert.equal('ERR_TLS_CERT_ALTNAME_INVALID', client.authorizationError)
      assert.is_false(client.authorized)
    end))

  it('may be refused by checkServerIdentity alone (checkServerIdentity)',
    failing({}, { checkServerIdentity = function(host, cert)
      assert.equal('localhost', host)
      assert.equal('localhost', cert.subject.CN)
      return Error('I do not like it')
    end }, function(err, _, client)
      assert.equal('I do not like it', err.message)
      assert.is_false(client.authorized)
      assert.equal('I do not like it', client.authorizationError)
    end))

  it('is only told of by authorizationError without rejectUnauthorized (rejectUnauthorized)', spec.async(
    function(done, expect)
      N.securePair(function(client, peer, over)
        assert.is_false(client.authorized)
        assert.equal('UNABLE_TO_VERIFY_LEAF_SIGNATURE', client.authorizationError)
        assert.equal('localhost', client:getPeerCertificate().subject.CN)
        client:on('close', expect(function()
          assert.equal('UNABLE_TO_VERIFY_LEAF_SIGNATURE', client.authorizationError)
          over(done)
        end))
        peer:resume()
        client:resume()
        client:finish()
      end, { client = { ca = other.cert, rejectUnauthorized = false } })
    end))

  it('is compared with the host that was looked up when nothing else is said (options.host)', spec.async(
    function(done, expect)
      local server
      server = T.serve({}, function(socket)
        socket:finish()
        socket:resume()
      end, function(port)
        local client
        client = tls.connect({ port = port, host = '127.0.0.1', ca = T.ca.cert }, expect(function()
          assert.is_true(client.authorized)
          assert.is_false(client.servername)
        end))
        client:resume()
        client:on('close', function()
          server:close(done)
        end)
      end)
    end))

  it('is compared with the host of the socket below (tls.connect, socket)', spec.async(function(done, expect)
    local server
    server = T.serve({}, function(socket)
      socket:on('error', ignore)
      socket:resume()
    end, function(port)
      local plain = net.connect { port = port, host = 'elsewhere.test', lookup = function(_, _, callback)
        callback(nil, '127.0.0.1', 4)
      end }
      plain:on('connect', function()
        local client = tls.connect { socket = plain, ca = T.ca.cert }
        client:on('error', expect(function(err)
          assert.equal('ERR_TLS_CERT_ALTNAME_INVALID', err.code)
          assert.equal('elsewhere.test', err.host)
        end))
        client:on('close', expect(function()
          server:close(done)
        end))
      end)
      plain:on('error', ignore)
    end)
    server:on('tlsClientError', ignore)
  end))
end)

describe('two ends that do not agree', function()
  it('on a version get the same story (minVersion, maxVersion, tlsClientError)',
    failing({ minVersion = 'TLSv1.3' }, { maxVersion = 'TLSv1.2' }, function(client, server)
      assert.equal('ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', client.code)
      assert.equal('tlsv1 alert protocol version', client.reason)
      assert.equal('SSL routines', client.library)
      assert.equal('ERR_SSL_UNSUPPORTED_PROTOCOL', server.code)
      assert.equal('unsupported protocol', server.reason)
    end))

  it('on a cipher get the same story (ciphers, tlsClientError)',
    failing({ ciphers = 'ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256', maxVersion = 'TLSv1.2' },
      { ciphers = 'ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES256-GCM-SHA384' }, function(client, server)
        assert.equal('ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE', client.code)
        assert.equal('ERR_SSL_NO_SHARED_CIPHER', server.code)
      end))

  it('on a protocol get the same story (ALPNProtocols, tlsClientError)',
    failing({ ALPNProtocols = { 'a', 'b' } }, { ALPNProtocols = { 'c' } }, function(client, server, socket)
      assert.equal('ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL', client.code)
      assert.equal('ERR_SSL_NO_APPLICATION_PROTOCOL', server.code)
      assert.is_false(socket.authorized)
      assert.is_nil(socket.authorizationError)
    end))

  it('on a client certificate get the same story (requestCert, tlsClientError)',
    failing({ requestCert = true, maxVersion = 'TLSv1.2' }, {}, function(client, server)
      assert.equal('ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE', client.code)
      assert.equal('ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE', server.code)
    end))

  it('on a client certificate under TLS 1.3, where the client has connected by then (secureConnect, error)',
    spec.async(function(done, expect)
      local server
      server = T.serve({ requestCert = true, minVersion = 'TLSv1.3' }, expect(0), function(port)
        local client = T.connect(port, nil, expect())
        client:on('error', expect(function(err)
          assert.equal('ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', err.code)
        end))
        client:resume()
        client:on('close', expect(function()
          server:close(done)
        end))
      end)
      server:on('tlsClientError', expect())
    end))

  it('on having no certificate at all get the same story (tls.createServer without one)', spec.async(
    function(done, expect)
      local server = tls.createServer(expect(0))
      server:on('tlsClientError', expect(function(err)
        assert.equal('ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM', err.code)
      end))
      server:listen(0, '127.0.0.1', function()
        local client = T.connect(server:address().port)
        client:on('error', expect(function(err)
          assert.equal('ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE', err.code)
        end))
        client:on('close', expect(function()
          server:close(done)
        end))
      end)
    end))
end)

describe('the socket of tlsClientError', function()
  -- A handshake that fails on both ends. `check(socket)` gets the server's socket.
  local function refused(options, clientOptions, check)
    return spec.async(function(done, expect)
      local server
      server = T.serve(options, expect(0), function(port)
        local client = T.connect(port, clientOptions)
        client:on('error', expect())
        client:on('close', function()
          server:close(done)
        end)
      end)
      server:on('tlsClientError', expect(function(_, socket)
        check(socket)
      end))
    end)
  end

  local function refuse(_, callback)
    callback(Error('nobody of that name'))
  end

  it('knows the name that was asked for when SNICallback refuses it (servername)',
    refused({ SNICallback = refuse }, { servername = 'somebody.test' }, function(socket)
      assert.equal('somebody.test', socket.servername)
    end))

  it('knows the name that was asked for when there is no agreement (servername)',
    refused({ minVersion = 'TLSv1.3' }, { servername = 'somebody.test', maxVersion = 'TLSv1.2' }, function(socket)
      assert.equal('somebody.test', socket.servername)
    end))

  it('says that there was no name (servername)',
    refused({ minVersion = 'TLSv1.3' }, { servername = '', maxVersion = 'TLSv1.2' }, function(socket)
      assert.is_false(socket.servername)
    end))
end)

describe('an alert that a reset follows', function()
  it('is the error of each of many that connect at once (error)', spec.async(function(done, expect)
    local CROWD = 40
    -- A server without a version refuses before it reads: closing resets the connection.
    local versions = { minVersion = 'TLSv1.3', maxVersion = 'TLSv1.2' }
    local left, server = CROWD, nil
    server = T.serve(versions, expect(0), function(port)
      for _ = 1, CROWD do
        local client = T.connect(port)
        client:on('error', expect(function(err)
          assert.equal('ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', err.code)
        end))
        client:on('close', function()
          left = left - 1
          if left == 0 then
            server:close(done)
          end
        end)
      end
    end)
  end))
end)

describe('a peer that goes away during the handshake', function()
  local function leaving(leave, options)
    return spec.async(function(done, expect)
      N.listening(leave, function(server, port)
        local client = T.connect(port, options)
        client:on('secureConnect', expect(0))
        client:on('error', expect(function(err)
          assert.equal('Client network socket disconnected before secure TLS connection was established', err.message)
          assert.equal('ECONNRESET', err.code)
          assert.equal('127.0.0.1', err.host)
          assert.equal(port, err.port)
          assert.is_nil(err.path)
          assert.equal(options.localAddress, err.localAddress)
        end))
        client:on('close', expect(function(hadError)
          assert.is_true(hadError)
          server:close(done)
        end))
      end)
    end)
  end

  it('by an end is ECONNRESET with host and port for the client (error event)', leaving(function(socket)
    socket:on('error', ignore)
    socket:resume()
    socket:finish()
  end, {}))

  it('after our hello is ECONNRESET with the local address we chose (error event)', leaving(function(socket)
    socket:on('error', ignore)
    socket:once('data', function()
      socket:finish()
    end)
  end, { localAddress = '127.0.0.1' }))

  it('over a path is ECONNRESET with that path (error event)', spec.async(function(done, expect)
    local directory = spec.tempdir()
    local path = directory .. '/leaves'
    local server = net.createServer(function(socket)
      socket:on('error', ignore)
      socket:resume()
      socket:finish()
    end)
    server:listen(path, function()
      local client = tls.connect { path = path, ca = T.ca.cert }
      client:on('error', expect(function(err)
        assert.equal('ECONNRESET', err.code)
        assert.equal(path, err.path)
        assert.is_nil(err.host)
        assert.is_nil(err.port)
      end))
      client:on('close', expect(function()
        server:close(function()
          spec.remove(directory)
          done()
        end)
      end))
    end)
  end))

  it('below a socket of the script is ECONNRESET without a host (tls.connect, socket)', spec.async(
    function(done, expect)
      N.listening(function(socket)
        socket:on('error', ignore)
        socket:resume()
        socket:finish()
      end, function(server, port)
        local plain = net.connect(port, '127.0.0.1')
        plain:on('error', ignore)
        local client = tls.connect { socket = plain, ca = T.ca.cert }
        client:on('error', expect(function(err)
          assert.equal('ECONNRESET', err.code)
          assert.is_nil(err.host)
          assert.is_nil(err.port)
        end))
        client:on('close', expect(function()
          server:close(done)
        end))
      end)
    end))

  it("is 'socket hang up' for the server (tlsClientError event)", spec.async(function(done, expect)
    local server
    server = T.serve({}, expect(0), function(port)
      local client = net.connect(port, '127.0.0.1')
      client:finish()
      client:resume()
    end)
    server:on('tlsClientError', expect(function(err, socket)
      assert.equal('socket hang up', err.message)
      assert.equal('ECONNRESET', err.code)
      assert.is_true(socket.destroyed or not socket.writableEnded)
      server:close(done)
    end))
    server:on('clientError', expect())
  end))

  it('that speaks no TLS is an error for the client (error event)', spec.async(function(done, expect)
    N.listening(function(socket)
      socket:on('error', ignore)
      socket:resume()
      socket:finish('220 mail.example.org ESMTP\r\n')
    end, function(server, port)
      local client = T.connect(port)
      client:on('error', expect(function(err)
        assert.equal('ERR_SSL_WRONG_VERSION_NUMBER', err.code)
        assert.equal('wrong version number', err.reason)
        assert.equal('SSL routines', err.library)
      end))
      client:on('close', expect(function(hadError)
        assert.is_true(hadError)
        server:close(done)
      end))
    end)
  end))

  it('leaves the server as it was for others (tlsClientError event)', spec.async(function(done, expect)
    local server
    server = T.serve({}, expect(function(socket)
      socket:finish('fine')
      socket:resume()
    end, 3), function(port)
      local left = 3
      for _ = 1, 3 do
        local junk = net.connect(port, '127.0.0.1')
        junk:on('error', ignore)
        junk:finish('GET / HTTP/1.1\r\n\r\n')
        junk:resume()
        local client = T.connect(port)
        client:on('data', expect(function(data)
          assert.equal('fine', data)
        end))
        client:on('close', function()
          left = left - 1
          if left == 0 then
            server:close(done)
          end
        end)
      end
    end)
    server:on('tlsClientError', expect(ignore, 3))
    server:on('error', expect(0))
  end))

  it('is nobody to be told about when no one listens (tlsClientError event)', spec.async(function(done, expect)
    local server
    server = T.serve({}, expect(0), function(port)
      local junk = net.connect(port, '127.0.0.1')
      junk:on('error', ignore)
      junk:write('nothing that TLS knows')
      junk:resume()
      junk:on('close', expect(function()
        server:close(done)
      end))
    end)
  end))
end)

describe('a connection that is reset after the handshake', function()
  it('is read ECONNRESET for both events of the other end (error, close)', spec.async(function(done, expect)
    local server
    server = N.securePair(function(client, peer, over)
      peer:resume()
      peer:on('error', expect(function(err)
        assert.equal('read ECONNRESET', err.message)
        assert.equal('ECONNRESET', err.code)
        assert.equal(-104, err.errno)
        assert.equal('read', err.syscall)
      end))
      peer:on('close', expect(function(hadError)
        assert.is_true(hadError)
        over(done)
      end))
      -- Not in the turn of the handshake's end, in which the server still writes.
      setTimeout(function()
        client:resetAndDestroy()
      end, 10)
    end)
    server:on('tlsClientError', expect(0))
  end))

  it('fails the connect of others in the words of the system (error event)', spec.async(function(_, expect)
    N.unusedPort(function(port)
      local client = T.connect(port)
      client:on('error', expect(function(err)
        assert.equal(('connect ECONNREFUSED 127.0.0.1:%d'):format(port), err.message)
        assert.equal('ECONNREFUSED', err.code)
        assert.equal('connect', err.syscall)
        assert.equal('127.0.0.1', err.address)
        assert.equal(port, err.port)
      end))
      client:on('close', expect(function(hadError)
        assert.is_true(hadError)
        assert.is_false(client.authorized)
        assert.is_nil(client.authorizationError)
      end))
    end)
  end))
end)

describe('an error of OpenSSL', function()
  it('carries what else it had to say, the last first (opensslErrorStack)', function()
    local err = N.raises('ERR_OSSL_DSO_COULD_NOT_LOAD_THE_SHARED_LIBRARY', tls.createSecureContext,
      { clientCertEngine = 'no such engine' })
    assert.is_true(#err.opensslErrorStack > 1)
    assert.matches('engine routines::no such engine', table.concat(err.opensslErrorStack, '\n'), 1, true)
    for _, entry in ipairs(err.opensslErrorStack) do
      assert.matches('^error:%x+:', entry)
    end
  end)

  it('carries no list when it was all (opensslErrorStack)', function()
    local err = N.raises('ERR_OSSL_UNSUPPORTED', tls.createSecureContext, { key = 'no key' })
    assert.is_nil(err.opensslErrorStack)
  end)
end)
