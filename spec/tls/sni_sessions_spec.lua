-- Sessions and names: a session made under one context is of no use under another, unless the script says that they
-- are one (sessionIdContext). So nobody comes by a session into a place that another policy guards (CVE-2025-23419).
local P = require 'spec.support.peers'
local S = require 'spec.support.sessions'
local T = require 'spec.support.tls'

local function ignore() end

-- How sessions are kept: each a name, the version, options of all contexts, and what is done to the server.
local KINDS = {
  { 'in a ticket of TLS 1.2', 'TLSv1.2', { maxVersion = 'TLSv1.2' }, ignore },
  { 'in a ticket of TLS 1.3', 'TLSv1.3', { minVersion = 'TLSv1.3' }, ignore },
  { 'behind an id of TLS 1.2', 'TLSv1.2', S.limits 'TLSv1.2', S.keep },
  { 'behind an identity of TLS 1.3', 'TLSv1.3', S.limits 'TLSv1.3', S.keep },
}

local alpha = T.ca:issue { names = { 'alpha.test' }, cn = 'alpha' }
local beta = T.ca:issue { names = { 'beta.test' }, cn = 'beta' }

local function identity(leaf)
  return { key = leaf.key, cert = leaf.cert }
end

-- A server with a context of its own, and two by name; each has `options`, and `named` those by name as well.
local function serve(await, kind, options, named)
  local common = T.merged(kind[3], options)
  local server, port = S.serve(await, common)
  for name, leaf in pairs { ['alpha.test'] = alpha, ['beta.test'] = beta } do
    server:addContext(name, T.merged(common, T.merged(identity(leaf), (named or {})[name])))
  end
  return server, port, kind[4](server)
end

-- The certificate in the session is the other name's: the client would refuse it before the server can.
local function visit(await, port, name, session)
  return S.visit(await, port, { servername = name, session = session, checkServerIdentity = ignore })
end

local NAMES = { 'alpha.test', 'beta.test', 'localhost' }

for _, kind in ipairs(KINDS) do
  describe('a session ' .. kind[1], function()
    it('resumes under its own name alone', P.test({}, function(await)
      local server, port = serve(await, kind)
      for _, mine in ipairs(NAMES) do
        for _, other in ipairs(NAMES) do
          local seen = visit(await, port, other, visit(await, port, mine).session)
          assert.is_nil(seen.error)
          assert.equal(mine == other, seen.reused, mine .. ' ' .. other)
        end
      end
      P.close(await, server)
    end))

    it('resumes wherever the script has given the same sessionIdContext', P.test({}, function(await)
      local server, port = serve(await, kind, { sessionIdContext = 'one for all' })
      for _, mine in ipairs(NAMES) do
        for _, other in ipairs(NAMES) do
          assert.is_true(visit(await, port, other, visit(await, port, mine).session).reused)
        end
      end
      P.close(await, server)
    end))

    it('resumes where two contexts are told apart by nothing but their names', P.test({}, function(await)
      local server, port = serve(await, kind, {}, { ['beta.test'] = identity(alpha) })
      assert.is_true(visit(await, port, 'beta.test', visit(await, port, 'alpha.test').session).reused)
      P.close(await, server)
    end))

    it('does not resume under a name that asks for a certificate', P.test({}, function(await)
      local server, port = serve(await, kind, {},
        { ['beta.test'] = T.merged(identity(alpha), { requestCert = true, rejectUnauthorized = false }) })
      local session = visit(await, port, 'alpha.test').session
      assert.is_false(visit(await, port, 'beta.test', session).reused)
      P.close(await, server)
    end))

    it('lives as long as the context says under which it was made', P.test({}, function(await)
      local server, port, store = serve(await, kind, { sessionTimeout = 1234 },
        { ['alpha.test'] = { sessionTimeout = 4321 }, ['beta.test'] = { sessionTimeout = 0 } })
      if store then
        visit(await, port, 'alpha.test')
        visit(await, port, 'beta.test')
        visit(await, port, 'localhost')
        local lives = { [1234] = 0, [4321] = 0 }
        for _, data in pairs(store.sessions) do
          for seconds, count in pairs(lives) do
            lives[seconds] = count + (S.lives(data, seconds) and 1 or 0)
          end
        end
        local each = kind[2] == 'TLSv1.2' and 1 or 2
        assert.same({ [1234] = each, [4321] = each }, lives)
        assert.equal(2 * each, #store.made)
      else
        for name, hint in pairs { ['alpha.test'] = 4321, ['localhost'] = 1234 } do
          local _, stdout = P.run(await, { 'openssl', 's_client', '-connect', '127.0.0.1:' .. port, '-servername', name,
            '-ign_eof' })
          assert.equal(tostring(hint), stdout:match 'lifetime hint: (%d+)', name)
        end
        assert.is_nil(visit(await, port, 'beta.test').ticket)
      end
      P.close(await, server)
    end))
  end)
end
