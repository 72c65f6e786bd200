-- A Lua TLS server and the programs its users have: openssl s_client, GnuTLS, curl, Node, moonlatch itself.
local spec = require 'moonlatch.spec'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'

local VERSIONS = {
  { name = 'TLSv1.2', flag = '-tls1_2', gnutls = 'NORMAL:-VERS-ALL:+VERS-TLS1.2' },
  { name = 'TLSv1.3', flag = '-tls1_3', gnutls = 'NORMAL:-VERS-ALL:+VERS-TLS1.3' },
}

local KEYS = { 'rsa', 'ec', 'ec:P-384', 'ed25519' }

local ada = T.ca:issue { cn = 'ada', purpose = 'client' }
local eve = spec.ca({ name = 'Another authority' }):issue { cn = 'eve', purpose = 'client' }

local function echo(socket)
  socket:pipe(socket)
end

local function identityWith(key)
  return T.ca:issue { names = { 'localhost', '127.0.0.1' }, key = key, cn = 'key ' .. key }
end

describe('openssl s_client', function()
  for _, version in ipairs(VERSIONS) do
    it('echoes through a Lua server (' .. version.name .. ')', P.test({}, function(await, files, expect)
      local server, port = P.serve(await, {}, expect(function(socket)
        assert.equal(version.name, socket:getProtocol())
        assert.is_false(socket.servername)
        assert.is_false(socket:isSessionReused())
        echo(socket)
      end))
      local status, stdout, stderr = P.sClientEcho(await, port,
        { version.flag, '-CAfile', files.ca, '-verify_return_error', '-noservername' })
      assert.equal(0, status, stderr)
      assert.matches('Verify return code: 0 %(ok%)', stdout)
      assert.matches('New, ' .. version.name:gsub('%p', '%%%0'), stdout)
      P.close(await, server)
    end))

    it('is turned away or let in by its certificate (' .. version.name .. ')', P.test({ ada = ada, eve = eve },
      function(await, files, expect)
        local server, port = P.serve(await, { requestCert = true, ca = T.ca.cert }, expect(function(socket)
          assert.is_true(socket.authorized)
          assert.equal('ada', socket:getPeerCertificate().subject.CN)
          echo(socket)
        end))
        local reasons = {}
        server:on('tlsClientError', expect(function(err)
          reasons[#reasons + 1] = err.code
        end, 2))
        local function connect(...)
          return P.run(await, { 'openssl', 's_client', '-connect', '127.0.0.1:' .. port, '-ign_eof', '-CAfile',
            files.ca, version.flag, ... })
        end

        assert.equal(0, (P.sClientEcho(await, port,
          { version.flag, '-CAfile', files.ca, '-cert', files.ada_cert, '-key', files.ada_key })))
        -- RFC 8446, 6.2 has an alert of its own for a missing certificate; before there was only this one.
        local _, _, stderr = connect()
        assert.matches(version.name == 'TLSv1.3' and 'SSL alert number 116' or 'SSL alert number 40', stderr)
        _, _, stderr = connect('-cert', files.eve_cert, '-key', files.eve_key)
        assert.matches('SSL alert number 48', stderr)
        assert.same({ 'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' }, reasons)
        P.close(await, server)
      end))

    it('agrees on a protocol by ALPN (' .. version.name .. ')', P.test({}, function(await, files, expect)
      local server, port = P.serve(await, { ALPNProtocols = { 'http/1.1', 'h2' } }, expect(function(socket)
        assert.equal('http/1.1', socket.alpnProtocol)
        echo(socket)
      end))
      local status, stdout = P.sClientEcho(await, port,
        { version.flag, '-CAfile', files.ca, '-alpn', 'unknown/9,h2,http/1.1' })
      assert.equal(0, status)
      assert.matches('ALPN protocol: http/1%.1', stdout)
      P.close(await, server)
    end))

    for _, key in ipairs(KEYS) do
      it(('accepts a certificate with a key of kind %s (%s)'):format(key, version.name),
        P.test({}, function(await, files, expect)
          local identity = identityWith(key)
          local server, port = P.serve(await, { key = identity.key, cert = identity.cert }, expect(echo))
          local status, stdout, stderr = P.sClientEcho(await, port,
            { version.flag, '-CAfile', files.ca, '-verify_return_error', '-verify_hostname', 'localhost' })
          assert.equal(0, status, stderr)
          assert.matches('subject=CN = key ' .. key:gsub('%p', '%%%0') .. '\n', stdout)
          P.close(await, server)
        end))
    end
  end

  it('gets the certificate of the name it asks for', P.test({}, function(await, files, expect)
    local names = { 'alpha.example', 'www.beta.example', 'localhost' }
    local server, port = P.serve(await, {}, expect(function(socket)
      assert.equal(table.remove(names, 1), socket.servername)
      echo(socket)
    end, 3))
    for _, name in ipairs { 'alpha.example', '*.beta.example' } do
      local leaf = T.ca:issue { names = { name } }
      server:addContext(name, { key = leaf.key, cert = leaf.cert })
    end
    local subjects = { 'alpha.example', '*.beta.example', 'localhost' }
    for i, name in ipairs { 'alpha.example', 'www.beta.example', 'localhost' } do
      local _, stdout = P.sClientEcho(await, port, { '-CAfile', files.ca, '-servername', name })
      assert.equal(subjects[i], stdout:match('subject=CN = ([^\n]*)'))
    end
    P.close(await, server)
  end))

  it('resumes its session five times under TLS 1.2', P.test({}, function(await, files, expect)
    local reused = 0
    local server, port = P.serve(await, {}, expect(function(socket)
      reused = reused + (socket:isSessionReused() and 1 or 0)
      -- It drops its connections without a word, which is not an error of ours to report.
      socket:on('error', function() end)
      socket:resume()
    end, 6))
    server:on('tlsClientError', function(err)
      error(err, 0)
    end)
    local status, stdout, stderr = P.run(await, { 'openssl', 's_client', '-connect', '127.0.0.1:' .. port,
      '-CAfile', files.ca, '-tls1_2', '-reconnect' })
    assert.equal(0, status, stderr)
    local _, times = stdout:gsub('Reused, TLSv1%.2', '')
    assert.equal(5, times)
    assert.equal(5, reused)
    P.close(await, server)
  end))

  it('resumes a saved session under TLS 1.3', P.test({}, function(await, files, expect)
    local reused = {}
    local server, port = P.serve(await, {}, expect(function(socket)
      reused[#reused + 1] = socket:isSessionReused()
      echo(socket)
    end, 2))
    local session = files.dir .. '/session.pem'
    local _, stdout = P.sClientEcho(await, port, { '-CAfile', files.ca, '-tls1_3', '-sess_out', session })
    assert.matches('New, TLSv1%.3', stdout)
    _, stdout = P.sClientEcho(await, port, { '-CAfile', files.ca, '-tls1_3', '-sess_in', session })
    assert.matches('Reused, TLSv1%.3', stdout)
    assert.same({ false, true }, reused)
    P.close(await, server)
  end))

  it('does not resume a session after the ticket keys have changed', P.test({}, function(await, files, expect)
    local server, port = P.serve(await, {}, expect(function(socket)
      assert.is_false(socket:isSessionReused())
      echo(socket)
    end, 2))
    local session = files.dir .. '/session.pem'
    P.sClientEcho(await, port, { '-CAfile', files.ca, '-tls1_3', '-sess_out', session })
    server:setTicketKeys(('k'):rep(48))
    local status, stdout = P.sClientEcho(await, port, { '-CAfile', files.ca, '-tls1_3', '-sess_in', session })
    assert.equal(0, status)
    assert.matches('New, TLSv1%.3', stdout)
    P.close(await, server)
  end))

  it('updates the keys of a connection under way', P.test({}, function(await, files, expect)
    local server, port = P.serve(await, {}, expect(echo))
    local command = P.sClient(port, { '-CAfile', files.ca, '-tls1_3' })
    P.waitFor(await, command, 'stdout', 'Verify return code')
    -- K: our keys and yours, k: ours (s_client's own commands).
    for i, key in ipairs { 'K\n', 'k\n', 'K\n' } do
      command.stdin:write(key)
      P.waitFor(await, command, 'stderr', ('KEYUPDATE.*'):rep(i))
      command.stdin:write(('line %d\n'):format(i))
      P.waitFor(await, command, 'stdout', ('line %d\n'):format(i))
    end
    command.stdin:finish()
    await(command, 'exit')
    assert.equal(0, command.status, command.stderr)
    P.close(await, server)
  end))

  it('sees the whole chain of a certificate from an intermediate authority', P.test({}, function(await, files, expect)
    local leaf = T.ca:intermediate({ name = 'Between' }):issue { names = { 'localhost' } }
    local server, port = P.serve(await, { key = leaf.key, cert = leaf.chain }, expect(echo))
    local status, stdout = P.sClientEcho(await, port, { '-CAfile', files.ca, '-showcerts', '-verify_return_error' })
    assert.equal(0, status)
    local _, count = stdout:gsub('BEGIN CERTIFICATE', '')
    assert.equal(2, count)
    P.close(await, server)
  end))
end)

describe('gnutls-cli', function()
  for _, version in ipairs(VERSIONS) do
    it('echoes through a Lua server (' .. version.name .. ')', P.test({ ada = ada }, function(await, files, expect)
      local server, port = P.serve(await, { requestCert = true, ca = T.ca.cert, ALPNProtocols = { 'echo/1' } },
        expect(function(socket)
          assert.equal(version.name, socket:getProtocol())
          assert.equal('localhost', socket.servername)
          assert.equal('echo/1', socket.alpnProtocol)
          assert.equal('ada', socket:getPeerCertificate().subject.CN)
          echo(socket)
        end))
      local command = spec.command({ 'gnutls-cli', '--x509cafile', files.ca, '--sni-hostname', 'localhost',
        '--verify-hostname', 'localhost', '--priority', version.gnutls, '--alpn', 'echo/1',
        '--x509certfile', files.ada_cert, '--x509keyfile', files.ada_key, '--port', tostring(port), '127.0.0.1' },
        { input = false })
      P.waitFor(await, command, 'stdout', 'Simple Client Mode')
      command.stdin:write('typed into gnutls\n')
      P.waitFor(await, command, 'stdout', 'typed into gnutls')
      command.stdin:finish()
      await(command, 'exit')
      assert.equal(0, command.status, command.stderr)
      assert.matches('Handshake was completed', command.stdout)
      P.close(await, server)
    end))

    it('resumes its session (' .. version.name .. ')', P.test({}, function(await, files, expect)
      local reused = {}
      local server, port = P.serve(await, {}, expect(function(socket)
        reused[#reused + 1] = socket:isSessionReused()
        socket:on('error', function() end)
        echo(socket)
      end, 2))
      local status, stdout, stderr = P.run(await, { 'gnutls-cli', '--x509cafile', files.ca, '--resume',
        '--waitresumption', '--verify-hostname', 'localhost', '--priority', version.gnutls, '--port',
        tostring(port), '127.0.0.1' })
      assert.equal(0, status, stderr)
      assert.matches('This is a resumed session', stdout)
      assert.same({ false, true }, reused)
      P.close(await, server)
    end))
  end
end)

describe('curl', function()
  -- As much of HTTP as curl needs: one request, one answer that tells what came.
  local function respond(socket)
    local request = ''
    socket:setEncoding('latin1')
    socket:on('data', function(chunk)
      request = request .. chunk
      local head, body = request:match('^(.-\r\n\r\n)(.*)$')
      local length = head and tonumber(head:match('[Cc]ontent%-[Ll]ength: (%d+)') or 0)
      if head and #body == length then
        local answer = ('%s by %s, %d bytes'):format(head:match('^[^\r]*'), socket:getProtocol(), length)
        socket:finish(('HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s'):format(#answer, answer))
      end
    end)
  end

  local function fetch(await, files, port, ...)
    return P.run(await, { 'curl', '--silent', '--show-error', '--noproxy', '*', '--cacert', files.ca, '--resolve',
      ('localhost:%d:127.0.0.1'):format(port), ('https://localhost:%d/some/page'):format(port), ... })
  end

  it('fetches a page over HTTPS', P.test({}, function(await, files, expect)
    local server, port = P.serve(await, { ALPNProtocols = { 'http/1.1' } }, expect(function(socket)
      assert.equal('http/1.1', socket.alpnProtocol)
      respond(socket)
    end, 2))
    local status, stdout, stderr = fetch(await, files, port)
    assert.equal(0, status, stderr)
    assert.equal('GET /some/page HTTP/1.1 by TLSv1.3, 0 bytes', stdout)
    status, stdout, stderr = fetch(await, files, port, '--tls-max', '1.2')
    assert.equal(0, status, stderr)
    assert.equal('GET /some/page HTTP/1.1 by TLSv1.2, 0 bytes', stdout)
    P.close(await, server)
  end))

  it('posts a megabyte', P.test({}, function(await, files, expect)
    local server, port = P.serve(await, {}, expect(respond))
    require('fs').writeFileSync(files.dir .. '/body', ('0123456789abcdef'):rep(65536))
    local status, stdout, stderr = fetch(await, files, port, '--http1.1', '--data-binary', '@' .. files.dir .. '/body',
      '--header', 'Expect:')
    assert.equal(0, status, stderr)
    assert.equal('POST /some/page HTTP/1.1 by TLSv1.3, 1048576 bytes', stdout)
    P.close(await, server)
  end))

  it('shows a client certificate', P.test({ ada = ada }, function(await, files, expect)
    local server, port = P.serve(await, { requestCert = true, ca = T.ca.cert }, expect(function(socket)
      assert.equal('ada', socket:getPeerCertificate().subject.CN)
      respond(socket)
    end))
    local status, _, stderr = fetch(await, files, port, '--cert', files.ada_cert, '--key', files.ada_key)
    assert.equal(0, status, stderr)
    P.close(await, server)
  end))

  it('refuses a server whose authority it does not know', P.test({}, function(await, files, expect)
    local stranger = spec.ca({ name = 'Nobody' }):issue()
    local server, port = P.serve(await, { key = stranger.key, cert = stranger.cert }, function()
      error('no connection expected')
    end)
    server:on('tlsClientError', expect(function(err)
      assert.equal('ERR_SSL_TLSV1_ALERT_UNKNOWN_CA', err.code)
      assert.equal('peer', err.alertFrom)
    end))
    -- CURLE_PEER_FAILED_VERIFICATION
    assert.equal(60, (fetch(await, files, port)))
    P.close(await, server)
  end))
end)

describe("Node's client", function()
  for _, version in ipairs(VERSIONS) do
    it('echoes through a Lua server (' .. version.name .. ')', P.test({}, function(await, _, expect)
      local server, port = P.serve(await, { ALPNProtocols = { 'b', 'a' } }, expect(function(socket)
        assert.equal('localhost', socket.servername)
        assert.equal('b', socket.alpnProtocol)
        echo(socket)
      end))
      local facts = P.nodeClient(await, port, { MAX_VERSION = version.name, ALPN = 'a,b' })
      assert.same({ authorized = 'true', authorizationError = 'null', protocol = version.name, alpn = 'b',
        reused = 'false', cn = 'localhost', echo = 'hello from node', closed = 'well' }, facts)
      P.close(await, server)
    end))

    it('resumes its session (' .. version.name .. ')', P.test({}, function(await, _, expect)
      local reused = {}
      local server, port = P.serve(await, {}, expect(function(socket)
        reused[#reused + 1] = socket:isSessionReused()
        echo(socket)
      end, 2))
      local facts = P.nodeClient(await, port, { MAX_VERSION = version.name, RESUME = 'yes' })
      assert.equal('true', facts.reused)
      assert.equal('hello from node', facts.echo)
      assert.same({ false, true }, reused)
      P.close(await, server)
    end))

    it('shows its certificate, a good one and a bad one (' .. version.name .. ')', P.test({},
      function(await, _, expect)
        local seen = {}
        local server, port = P.serve(await, { requestCert = true, rejectUnauthorized = false, ca = T.ca.cert },
          expect(function(socket)
            seen[#seen + 1] = { socket.authorized, socket.authorizationError or false,
              (socket:getPeerCertificate().subject or {}).CN }
            echo(socket)
          end, 3))
        for _, identity in ipairs { ada, eve, { cert = false, key = false } } do
          local facts = P.nodeClient(await, port,
            { MAX_VERSION = version.name, CERT = identity.cert, KEY = identity.key })
          assert.equal('hello from node', facts.echo)
        end
        assert.same({ { true, false, 'ada' }, { false, 'UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'eve' },
          { false, 'UNABLE_TO_GET_ISSUER_CERT' } }, seen)
        P.close(await, server)
      end))
  end

  it('refuses a server it cannot verify, unless told not to', P.test({}, function(await, _, expect)
    local stranger = spec.selfSigned { names = { 'localhost' } }
    local server, port = P.serve(await, { key = stranger.key, cert = stranger.cert }, expect(echo))
    -- Node judges after the handshake, so it has no alert to send: it just goes.
    server:on('tlsClientError', expect(function(err)
      assert.equal('ECONNRESET', err.code)
      assert.equal('the client disconnected during the TLS handshake', err.reason)
    end))
    local facts = P.nodeClient(await, port, {})
    assert.equal('DEPTH_ZERO_SELF_SIGNED_CERT', facts.error)
    assert.equal('with an error', facts.closed)
    facts = P.nodeClient(await, port, { REJECT = 'no' })
    assert.equal('false', facts.authorized)
    assert.equal('DEPTH_ZERO_SELF_SIGNED_CERT', facts.authorizationError)
    assert.equal('hello from node', facts.echo)
    P.close(await, server)
  end))
end)

describe("moonlatch's own client", function()
  for _, version in ipairs(VERSIONS) do
    it('echoes through a Lua server under every kind of key (' .. version.name .. ')', P.test({},
      function(await, _, expect)
        for _, key in ipairs(KEYS) do
          local identity = identityWith(key)
          local server, port = P.serve(await, { key = identity.key, cert = identity.cert }, expect(echo))
          local socket = P.ownClientEcho(await, port, { maxVersion = version.name }, 'hello')
          assert.is_true(socket.seen.authorized)
          assert.equal(version.name, socket.seen.protocol)
          assert.equal('key ' .. key, socket.seen.cn)
          P.close(await, server)
        end
      end))

    it('resumes its session (' .. version.name .. ')', P.test({}, function(await, _, expect)
      local server, port = P.serve(await, {}, expect(echo, 2))
      local first = P.ownClientEcho(await, port, { maxVersion = version.name }, 'hello')
      assert.is_false(first.seen.reused)
      local second = P.ownClientEcho(await, port, { maxVersion = version.name, session = first.session }, 'again')
      assert.is_true(second.seen.reused)
      assert.is_true(second.seen.authorized)
      assert.equal('localhost', second.seen.cn)
      P.close(await, server)
    end))
  end
end)
