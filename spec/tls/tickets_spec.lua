-- Session tickets and the keys that seal them: `ticketKeys`, getTicketKeys, setTicketKeys, and Node's servers beside
-- ours.
local fs = require 'fs'
local tls = require 'tls'
local P = require 'spec.support.peers'
local S = require 'spec.support.sessions'
local T = require 'spec.support.tls'

-- Each begins with a name of its own.
local function keys(letter)
  return letter:rep(48)
end

local OLD, NEW, NEWER = keys 'o', keys 'n', keys 'r'

local function nameOf(set)
  return set:sub(1, 16)
end

describe('ticketKeys', function()
  S.eachVersion(it, 'seal with the first of a list and open with all of them', function(await, version)
    local limits = { maxVersion = version, minVersion = version }
    local old, oldPort = S.serve(await, T.merged(limits, { ticketKeys = OLD }))
    local new, newPort = S.serve(await, T.merged(limits, { ticketKeys = { NEW, OLD } }))
    local first = S.visit(await, oldPort)
    assert.equal(nameOf(OLD), first.key)
    local second = S.visit(await, newPort, { session = first.session })
    assert.is_true(second.reused)
    -- A ticket under keys that are on their way out is replaced as it is used.
    assert.equal(nameOf(NEW), second.key)
    local third = S.visit(await, newPort, { session = second.session })
    assert.is_true(third.reused)
    -- The server that has not heard of the new keys cannot open it.
    assert.is_false(S.visit(await, oldPort, { session = second.session }).reused)
    P.close(await, old)
    P.close(await, new)
  end)

  it('give no new ticket for one that is good still under TLS 1.2', P.test({}, function(await)
    local server, port = S.serve(await, { maxVersion = 'TLSv1.2' })
    local first = S.visit(await, port)
    local second = S.visit(await, port, { session = first.session })
    assert.is_true(second.reused)
    assert.equal(0, #second.sessions)
    P.close(await, server)
  end))

  -- RFC 8446, C.4: a client should not show a ticket twice, so it needs one for the next time.
  it('give a new ticket for each one used under TLS 1.3', P.test({}, function(await)
    local server, port = S.serve(await, {})
    local seen = S.visit(await, port)
    assert.equal(2, #seen.sessions)
    for _ = 1, 3 do
      seen = S.visit(await, port, { session = seen.session })
      assert.is_true(seen.reused)
      assert.equal(1, #seen.sessions)
    end
    P.close(await, server)
  end))

  S.eachVersion(it, 'that are exchanged again and again drop nobody who comes back in time', function(await, version)
    local server, port = S.serve(await, { maxVersion = version, ticketKeys = OLD })
    local session = S.visit(await, port).session
    for letter in ('abcdef'):gmatch '.' do
      server:setTicketKeys { keys(letter), server:getTicketKeys() }
      local seen = S.visit(await, port, { session = session })
      assert.is_true(seen.reused)
      assert.equal(nameOf(keys(letter)), seen.key)
      session = seen.session
    end
    P.close(await, server)
  end)

  S.eachVersion(it, 'that have left the list make a full handshake', function(await, version)
    local server, port = S.serve(await, { maxVersion = version, ticketKeys = OLD })
    local session = S.visit(await, port).session
    server:setTicketKeys { NEWER, NEW }
    local seen = S.visit(await, port, { session = session })
    assert.is_nil(seen.error)
    assert.is_false(seen.reused)
    assert.equal(nameOf(NEWER), seen.key)
    P.close(await, server)
  end)

  S.eachVersion(it, 'of the same name that are others make a full handshake', function(await, version)
    local server, port = S.serve(await, { maxVersion = version, ticketKeys = OLD })
    local session = S.visit(await, port).session
    server:setTicketKeys(nameOf(OLD) .. ('x'):rep(32))
    local seen = S.visit(await, port, { session = session })
    assert.is_nil(seen.error)
    assert.is_false(seen.reused)
    P.close(await, server)
  end)

  S.eachVersion(it, 'are the server’s for all names that it serves', function(await, version)
    local shared = { maxVersion = version, sessionIdContext = 'one for all' }
    local server, port = S.serve(await, T.merged(shared, { ticketKeys = OLD }))
    local other = T.ca:issue { names = { 'other.test' }, cn = 'other' }
    server:addContext('other.test', T.merged(shared, { key = other.key, cert = other.cert, ticketKeys = NEWER }))
    local first = S.visit(await, port, { servername = 'other.test' })
    assert.equal('other', first.cn)
    assert.equal(nameOf(OLD), first.key)
    server:setTicketKeys { NEW, OLD }
    local second = S.visit(await, port, { servername = 'other.test', session = first.session })
    assert.is_true(second.reused)
    assert.equal(nameOf(NEW), second.key)
    P.close(await, server)
  end)

  S.eachVersion(it, 'that a client has spoilt make a full handshake', function(await, version)
    local server, port = S.serve(await, { maxVersion = version })
    local first = S.visit(await, port)
    for _, at in ipairs { 1, 17, 33, #first.ticket } do
      local byte = first.ticket:byte(at)
      local spoilt = first.ticket:sub(1, at - 1) .. string.char((byte + 1) % 256) .. first.ticket:sub(at + 1)
      local from, to = first.session:find(first.ticket, 1, true)
      local session = first.session:sub(1, from - 1) .. spoilt .. first.session:sub(to + 1)
      local seen = S.visit(await, port, { session = session })
      assert.is_nil(seen.error)
      assert.is_false(seen.reused)
    end
    P.close(await, server)
  end)
end)

describe('a server’s ticket keys', function()
  local function server(options)
    return tls.createServer(T.identity(options))
  end

  it('are 48 random bytes unless it is told', function()
    local one, two = server(), server()
    assert.equal(48, #one:getTicketKeys())
    assert.not_equal(one:getTicketKeys(), two:getTicketKeys())
    assert.same({ one:getTicketKeys() }, one:getTicketKeys(true))
  end)

  it('can be asked for: the ones that seal, or all', function()
    local one = server { ticketKeys = { NEW, OLD } }
    assert.equal(NEW, one:getTicketKeys())
    assert.same({ NEW, OLD }, one:getTicketKeys(true))
    one:setTicketKeys(NEWER)
    assert.same({ NEWER }, one:getTicketKeys(true))
    one:setTicketKeys { NEWER, NEW, OLD }
    assert.same({ NEWER, NEW, OLD }, one:getTicketKeys(true))
    local two = server { ticketKeys = one:getTicketKeys(true) }
    assert.same(one:getTicketKeys(true), two:getTicketKeys(true))
  end)

  it('stay as they are when they cannot be replaced', function()
    local one = server { ticketKeys = { NEW, OLD } }
    for _, case in ipairs {
      { nil, 'ERR_INVALID_ARG_TYPE', 'The "buffer" argument must be of type string or string[]. Received nil' },
      { 5, 'ERR_INVALID_ARG_TYPE', 'Received type number (5)' },
      { 'short', 'ERR_INVALID_ARG_VALUE', 'Session ticket keys must be a 48-byte buffer. Received 5 bytes' },
      { {}, 'ERR_INVALID_ARG_TYPE', 'The "buffer" argument must be of type string or string[]' },
      { { NEW, 'short' }, 'ERR_INVALID_ARG_VALUE', "Received 5 bytes in 'buffer[2]'" },
      { { NEW, false }, 'ERR_INVALID_ARG_TYPE', 'The "buffer[2]" argument must be' },
    } do
      local ok, err = pcall(one.setTicketKeys, one, case[1])
      assert.is_false(ok)
      assert.equal(case[2], err.code)
      assert.matches(case[3], err.message, 1, true)
      assert.same({ NEW, OLD }, one:getTicketKeys(true))
    end
  end)

  it('outlast its context, unless the next one brings others', function()
    local identity = T.identity()
    local one = server { ticketKeys = { NEW, OLD } }
    one:setSecureContext(identity)
    assert.same({ NEW, OLD }, one:getTicketKeys(true))
    one:setSecureContext(T.merged(identity, { ticketKeys = NEWER }))
    assert.same({ NEWER }, one:getTicketKeys(true))
    local context = tls.createSecureContext(T.merged(identity, { ticketKeys = OLD }))
    one:setSecureContext(context)
    assert.same({ OLD }, one:getTicketKeys(true))
  end)

  S.eachVersion(it, 'let a session outlast a renewed certificate where sessionIdContext says so',
    function(await, version)
      local one, port = S.serve(await, { maxVersion = version, sessionIdContext = 'mine' })
      local first = S.visit(await, port)
      local renewed = T.ca:issue { names = { 'localhost' }, cn = 'renewed' }
      one:setSecureContext { key = renewed.key, cert = renewed.cert, maxVersion = version, sessionIdContext = 'mine' }
      assert.is_true(S.visit(await, port, { session = first.session }).reused)
      assert.equal('renewed', S.visit(await, port).cn)
      P.close(await, one)
    end)
end)

describe('a server of Node’s with the same ticketKeys', function()
  local VERSIONS = { ['TLSv1.2'] = '-tls1_2', ['TLSv1.3'] = '-tls1_3' }

  -- s_client's session from one port taken to another.
  local function carry(await, files, version, from, to)
    local session = files.dir .. '/session.pem'
    local flags = { VERSIONS[version], '-sess_out', session }
    local _, stdout = P.sClientEcho(await, from, flags)
    assert.matches('\nNew, ', stdout)
    assert.is_true(fs.existsSync(session))
    flags[2] = '-sess_in'
    local status
    status, stdout = P.sClientEcho(await, to, flags)
    assert.equal(0, status)
    return stdout:find('\nReused, ' .. version:gsub('%p', '%%%0')) ~= nil
  end

  local function hex(bytes)
    return (bytes:gsub('.', function(byte)
      return ('%02x'):format(byte:byte())
    end))
  end

  S.eachVersion(it, 'resumes our sessions, and we resume its', function(await, version, files)
    local random = require('crypto').randomBytes(48)
    local node, theirs = P.nodeServer(await, { TICKET_KEYS = hex(random), SESSION_ID_CONTEXT = 'both' })
    local echo = function(socket)
      socket:pipe(socket)
    end
    local server, ours = P.serve(await, { ticketKeys = random, sessionIdContext = 'both' }, echo)
    assert.is_true(carry(await, files, version, ours, theirs))
    assert.is_true(carry(await, files, version, theirs, ours))
    server:setTicketKeys { NEW, random }
    assert.is_true(carry(await, files, version, theirs, ours))
    assert.is_false(carry(await, files, version, ours, theirs))
    P.close(await, server)
    P.stop(await, node)
  end)
end)
