-- OCSP in the handshake with openssl, curl and Node.
local fs = require 'fs'
local spec = require 'moonlatch.spec'
local O = require 'spec.support.staples'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'

local RESPONSE = T.ca:ocspResponse(T.localhost)
local VERSIONS = { 'TLSv1.2', 'TLSv1.3' }

local der, hex, serve = O.der, O.hex, O.serve

describe('OCSP with other implementations', function()
  for _, version in ipairs(VERSIONS) do
    local flag = version == 'TLSv1.2' and '-tls1_2' or '-tls1_3'

    it(("a staple is openssl s_client's (%s)"):format(version), P.test({}, function(await, files)
      local server, port = serve(await, {}, function(_, _, callback)
        setImmediate(callback, nil, RESPONSE)
      end)
      local _, stdout = P.run(await, { 'openssl', 's_client', '-status', flag, '-connect', '127.0.0.1:' .. port,
        '-CAfile', files.ca, '-ign_eof' })
      assert.matches('OCSP Response Status: successful', stdout)
      assert.matches('Cert Status: good', stdout)
      assert.matches('Serial Number: ' .. T.localhost.serialNumber, stdout)
      P.close(await, server)
    end))

    it(('no staple is none for openssl s_client (%s)'):format(version), P.test({}, function(await, files)
      local server, port = serve(await, {})
      local _, stdout = P.run(await, { 'openssl', 's_client', '-status', flag, '-connect', '127.0.0.1:' .. port,
        '-CAfile', files.ca, '-ign_eof' })
      assert.matches('OCSP response: no response sent', stdout)
      P.close(await, server)
    end))

    -- curl verifies what is stapled, and looks for the issuer in what the server sends.
    local function curl(await, files, response)
      local chain = T.localhost.cert .. T.ca.cert
      local server, port = P.serve(await, { maxVersion = version, cert = chain }, function(socket)
        socket:on('error', function() end)
        socket:once('data', function()
          socket:finish('HTTP/1.0 200 OK\r\n\r\nhello')
        end)
      end)
      server:on('OCSPRequest', function(_, _, callback)
        callback(nil, response)
      end)
      server:on('tlsClientError', function() end)
      local status, stdout = P.run(await, { 'curl', '--silent', '--noproxy', '*', '--cert-status', '--cacert', files.ca,
        ('https://localhost:%d/'):format(port) })
      P.close(await, server)
      return status, stdout
    end

    it(('curl --cert-status takes what says that all is well, and nothing else (%s)'):format(version),
      P.test({}, function(await, files)
        local status, stdout = curl(await, files, RESPONSE)
        assert.equal('hello', stdout)
        assert.equal(0, status)
        local INVALID = 91
        assert.equal(INVALID, (curl(await, files, nil)))
        assert.equal(INVALID, (curl(await, files, 'garbage')))
        assert.equal(INVALID, (curl(await, files, T.ca:ocspResponse(T.localhost, { status = 'revoked' }))))
        assert.equal(INVALID, (curl(await, files, T.ca:ocspResponse(T.localhost, { nextUpdate = -3600 }))))
        assert.equal(INVALID, (curl(await, files, spec.ca():ocspResponse(T.localhost))))
      end))

    it(('a client hears what openssl s_server staples (%s)'):format(version), P.test({ own = T.localhost },
      function(await, files)
        fs.writeFileSync(files.dir .. '/staple', RESPONSE)
        local command, port = P.sServer(await, { '-cert', files.own_cert, '-key', files.own_key, flag, '-status_file',
          files.dir .. '/staple' })
        local client = T.connect(port, { requestOCSP = true })
        assert.equal(RESPONSE, await(client, 'OCSPResponse'))
        await(client, 'secureConnect')
        client:destroy()
        P.stop(await, command)
      end))

    it(("a client hears what Node's server staples, or that it does not (%s)"):format(version),
      P.test({}, function(await)
        for _, staple in ipairs { hex(RESPONSE), 'none' } do
          local command, port = P.nodeServer(await, { MAX_VERSION = version, STAPLE = staple, CA = T.ca.cert })
          local client = T.connect(port, { requestOCSP = true })
          local response = await(client, 'OCSPResponse')
          assert.equal(staple ~= 'none' and RESPONSE or nil, response)
          await(client, 'secureConnect')
          client:destroy()
          P.stop(await, command)
          assert.equal(hex(der(T.ca)), P.facts(command.stdout).issuer)
        end
      end))

    it(("Node's client hears what is stapled, or that nothing is (%s)"):format(version), P.test({}, function(await)
      for _, staple in ipairs { RESPONSE, false } do
        local server, port = P.serve(await, { maxVersion = version }, function(socket)
          socket:pipe(socket)
        end)
        server:on('OCSPRequest', function(_, _, callback)
          setImmediate(callback, nil, staple)
        end)
        local facts = P.nodeClient(await, port, { OCSP = 'yes' })
        assert.equal(staple and hex(staple) or 'null', facts.ocsp)
        assert.equal('hello from node', facts.echo)
        P.close(await, server)
      end
    end))
  end
end)
