-- The options of a context that decide which sessions resume: `openssl s_client` brings one back to servers that have
-- something in common with the one that gave it.
local fs = require 'fs'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'
local W = require 'spec.support.wire'

local VERSIONS = { { '-tls1_2', 'TLSv1.2' }, { '-tls1_3', 'TLSv1.3' } }
local LONGEST = ('x'):rep(32)
local KEYS, OTHER_KEYS = ('k'):rep(48), ('o'):rep(48)

local function options(more)
  return T.identity(more)
end

-- Whether a session that a server with `first` gave is resumed by one with `second`; and what s_client said.
local function resumes(await, files, version, first, second)
  local session = files.dir .. '/session.pem'
  local server, port = W.serve(await, options(first))
  local _, given = P.sClientEcho(await, port, { version, '-sess_out', session })
  P.close(await, server)
  if not fs.existsSync(session) then
    return false, given
  end
  server, port = W.serve(await, options(second))
  local status, stdout, stderr = P.sClientEcho(await, port, { version, '-sess_in', session })
  assert.equal(0, status, stderr)
  P.close(await, server)
  return stdout:find('\nReused, ', 1, true) ~= nil, given
end

-- { what it is, the first server's options, the second server's, whether the session is resumed }
local CASES = {
  { 'is resumed by servers that share ticketKeys', { ticketKeys = KEYS }, { ticketKeys = KEYS }, true },
  { 'is not resumed by a server with other ticketKeys', { ticketKeys = KEYS }, { ticketKeys = OTHER_KEYS }, false },
  { 'is not resumed by a server that was told none', {}, {}, false },
  { 'is resumed where sessionIdContext is the same', { ticketKeys = KEYS, sessionIdContext = 'one' },
    { ticketKeys = KEYS, sessionIdContext = 'one' }, true },
  { 'is not resumed where sessionIdContext is another', { ticketKeys = KEYS, sessionIdContext = 'one' },
    { ticketKeys = KEYS, sessionIdContext = 'two' }, false },
  { 'is not resumed where sessionIdContext has a null byte more', { ticketKeys = KEYS, sessionIdContext = 'one' },
    { ticketKeys = KEYS, sessionIdContext = 'one\0' }, false },
  { 'is resumed where sessionIdContext has null bytes', { ticketKeys = KEYS, sessionIdContext = '\0\1\0' },
    { ticketKeys = KEYS, sessionIdContext = '\0\1\0' }, true },
  { 'is resumed where sessionIdContext is as long as it may be', { ticketKeys = KEYS, sessionIdContext = LONGEST },
    { ticketKeys = KEYS, sessionIdContext = LONGEST }, true },
  -- OpenSSL would turn away every client that comes back with a session.
  { 'is resumed where sessionIdContext is empty, which says nothing', { ticketKeys = KEYS, sessionIdContext = '',
    requestCert = true, rejectUnauthorized = false }, { ticketKeys = KEYS, requestCert = true,
    rejectUnauthorized = false }, true },
  { 'is not resumed where other authorities are trusted', { ticketKeys = KEYS, ca = T.ca.cert },
    { ticketKeys = KEYS, ca = {} }, false },
  { 'is not resumed where a chain may end elsewhere', { ticketKeys = KEYS, ca = T.ca.cert },
    { ticketKeys = KEYS, ca = T.ca.cert, allowPartialTrustChain = true }, false },
  { 'is resumed all the same when sessionIdContext says so', {
    ticketKeys = KEYS, ca = T.ca.cert, sessionIdContext = 'one' },
    { ticketKeys = KEYS, ca = {}, sessionIdContext = 'one' }, true },
  { 'is not given when sessionTimeout is zero', { ticketKeys = KEYS, sessionTimeout = 0 }, { ticketKeys = KEYS },
    false },
  { 'is not resumed when sessionTimeout is zero', { ticketKeys = KEYS }, { ticketKeys = KEYS, sessionTimeout = 0 },
    false },
}

for _, version in ipairs(VERSIONS) do
  describe('a session of ' .. version[2], function()
    for _, case in ipairs(CASES) do
      it(case[1], P.test({}, function(await, files)
        assert.equal(case[4], (resumes(await, files, version[1], case[2], case[3])))
      end))
    end

    for _, case in ipairs { { nil, 300 }, { 77, 77 }, { 100000, 100000 } } do
      it(('lives as long as a sessionTimeout of %s says'):format(tostring(case[1])), P.test({},
        function(await, files)
          local _, said = resumes(await, files, version[1], { sessionTimeout = case[1] }, {})
          assert.equal(tostring(case[2]), said:match('lifetime hint: (%d+)'))
        end))
    end
  end)
end
