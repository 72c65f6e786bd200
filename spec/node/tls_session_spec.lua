-- What Node documents of TLS sessions: the session event, getSession, setSession, isSessionReused ("Session
-- resumption").

local spec = require 'moonlatch.spec'
local T = require 'spec.support.tls'

local function ignore() end

-- A server that ends each connection after `text`.
local function greeting(text, ready, options)
  local server
  server = T.serve(options, function(socket)
    socket:on('error', ignore)
    socket:finish(text)
    socket:resume()
  end, function(port)
    ready(server, port)
  end)
  return server
end

describe('a session', function()
  T.eachVersion(it, 'of the session event is resumed by the option session (session, isSessionReused)',
    function(version, done, expect)
      local session, server
      local reused = {}
      server = T.serve({ maxVersion = version }, function(socket)
        reused[#reused + 1] = socket:isSessionReused()
        socket:finish('x')
        socket:resume()
      end, function(port)
        local first = T.connect(port)
        first:on('session', function(data)
          assert.is_string(data)
          session = data
        end)
        first:on('secureConnect', expect(function()
          assert.is_false(first:isSessionReused())
        end))
        first:resume()
        first:on('close', expect(function()
          local second = T.connect(port, { session = session })
          second:on('secureConnect', expect(function()
            assert.is_true(second:isSessionReused())
            assert.is_true(second.authorized)
            assert.equal(version, second:getProtocol())
            assert.equal('localhost', second:getPeerCertificate().subject.CN)
          end))
          second:resume()
          second:on('close', expect(function()
            assert.same({ false, true }, reused)
            server:close(done)
          end))
        end))
      end)
    end)

  T.eachVersion(it, 'of getSession is resumed by setSession (getSession, setSession)',
    function(version, done, expect)
      greeting('x', function(server, port)
        local session
        local first = T.connect(port)
        first:on('data', function()
          -- The tickets of TLS 1.3 have come by now.
          session = first:getSession()
        end)
        first:on('close', expect(function()
          assert.is_string(session)
          local second = T.connect(port)
          second:setSession(session)
          second:on('secureConnect', expect(function()
            assert.is_true(second:isSessionReused())
            assert.equal(version == 'TLSv1.2' and 'string' or 'string', type(second:getSession()))
          end))
          second:resume()
          second:on('close', expect(function()
            server:close(done)
          end))
        end))
      end, { maxVersion = version })
    end)

  T.eachVersion(it, 'of the session event is the one that getSession gives in there (session, getSession)',
    function(version, done, expect)
      greeting('x', function(server, port)
        local client = T.connect(port)
        local count = 0
        client:on('session', function(session)
          count = count + 1
          assert.equal(session, client:getSession())
        end)
        client:resume()
        client:on('close', expect(function()
          assert.equal(version == 'TLSv1.2' and 1 or 2, count)
          server:close(done)
        end))
      end, { maxVersion = version })
    end)

  it('has a ticket to show under TLS 1.2 (getTLSTicket)', spec.async(function(done, expect)
    greeting('x', function(server, port)
      local client
      client = T.connect(port, { maxVersion = 'TLSv1.2' }, expect(function()
        assert.is_string(client:getTLSTicket())
        assert.is_true(#client:getTLSTicket() > 0)
      end))
      client:resume()
      client:on('close', function()
        server:close(done)
      end)
    end)
  end))

  it('of another server is not resumed but does not hurt (session)', spec.async(function(done, expect)
    greeting('x', function(one, port)
      local session
      local first = T.connect(port)
      first:on('session', function(data)
        session = data
      end)
      first:resume()
      first:on('close', expect(function()
        one:close()
        greeting('x', function(two, other)
          local second = T.connect(other, { session = session })
          second:on('secureConnect', expect(function()
            assert.is_false(second:isSessionReused())
          end))
          second:resume()
          second:on('close', expect(function()
            two:close(done)
          end))
        end)
      end))
    end)
  end))

  it('comes once for each ticket of TLS 1.3, after secureConnect (session)', spec.async(function(done, expect)
    greeting('x', function(server, port)
      local events = {}
      local client = T.connect(port)
      client:on('session', function()
        table.insert(events, 'session')
      end)
      client:on('secureConnect', function()
        table.insert(events, 'secureConnect')
      end)
      client:resume()
      client:on('close', expect(function()
        assert.same({ 'secureConnect', 'session', 'session' }, events)
        server:close(done)
      end))
    end)
  end))

  it('of TLS 1.2 comes after secureConnect as well (session)', spec.async(function(done, expect)
    greeting('x', function(server, port)
      local events = {}
      local client = T.connect(port)
      client:on('session', function(session)
        assert.equal(client:getSession(), session)
        table.insert(events, 'session')
      end)
      client:on('secureConnect', function()
        table.insert(events, 'secureConnect')
      end)
      client:resume()
      client:on('close', expect(function()
        assert.same({ 'secureConnect', 'session' }, events)
        server:close(done)
      end))
    end, { maxVersion = 'TLSv1.2' })
  end))

  it('does not come from a server of TLS 1.3 that has nothing to resume (session)', spec.async(function(done, expect)
    greeting('x', function(server, port)
      local client = T.connect(port)
      client:on('session', function()
        error 'a session'
      end)
      client:resume()
      client:on('close', expect(function()
        server:close(done)
      end))
    end, { sessionTimeout = 0 })
  end))
end)

-- The example of Node's page on tls: a table by the id, in hexadecimal digits.
describe("a server's store", function()
  T.eachVersion(it, 'resumes what it was given (newSession, resumeSession)', function(version, done, expect)
    local store = {}
    local function hex(id)
      return (id:gsub('.', function(byte)
        return ('%02x'):format(byte:byte())
      end))
    end
    greeting('x', function(server, port)
      server:on('newSession', function(id, data, callback)
        store[hex(id)] = data
        callback()
      end)
      server:on('resumeSession', function(id, callback)
        callback(nil, store[hex(id)] or nil)
      end)
      local session
      local first = T.connect(port)
      first:on('session', function(data)
        session = data
      end)
      first:resume()
      first:on('close', expect(function()
        local second
        second = T.connect(port, { session = session }, expect(function()
          assert.is_true(second:isSessionReused())
        end))
        second:resume()
        second:on('close', expect(function()
          server:close(done)
        end))
      end))
    end, { maxVersion = version, secureOptions = require('constants').SSL_OP_NO_TICKET })
  end)
end)
