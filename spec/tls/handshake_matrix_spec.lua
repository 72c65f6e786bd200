-- Every kind of handshake with `openssl s_client` at the other end: the protocol, the way to resume, how the context is
-- found, whether clients show certificates and whether they ask for a staple, each with each. A rule below says for one
-- thing that an end can see what it must be, worked out from the cell of the matrix.
local spec = require 'moonlatch.spec'
local start = require('moonlatch.spec.await').start
local tls = require 'tls'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'

local PROTOCOL = 'spec/1'
local NAMED = 'named.example'
local STATELESS, BY_ID, TICKET_DESPITE_STORE = 'a ticket', 'a session in a store', 'a ticket in spite of a store'

-- ---- The dimensions ----

local VERSIONS = {
  { name = 'TLSv1.2', flag = '-tls1_2' },
  { name = 'TLSv1.3', flag = '-tls1_3' },
}

-- `name` is what the client asks for; `named` says that a context of its own is behind it.
local CONTEXTS = {
  { text = 'no name', by = 'SNICallback' },
  { text = 'a name that nobody answers for', by = 'SNICallback', name = 'nobody.example' },
  { text = 'a name that SNICallback answers for', by = 'SNICallback', name = NAMED, named = true },
  { text = 'a name that was added', by = 'addContext', name = NAMED, named = true },
}

-- What the server asks for and what the client shows: nothing, a certificate of an authority that the context trusts,
-- or one of another.
local CLIENTS = {
  { text = 'no client certificate', options = {}, shows = 'good' },
  { text = 'an optional client certificate', options = { requestCert = true, rejectUnauthorized = false },
    shows = 'good', requested = true, authorized = true },
  { text = 'an optional client certificate, not shown', requested = true,
    options = { requestCert = true, rejectUnauthorized = false }, complaint = 'UNABLE_TO_GET_ISSUER_CERT' },
  { text = 'an optional client certificate, not trusted', requested = true,
    options = { requestCert = true, rejectUnauthorized = false }, shows = 'foreign',
    complaint = 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' },
  { text = 'a required client certificate', options = { requestCert = true }, shows = 'good', requested = true,
    authorized = true },
  { text = 'a required client certificate, not shown', options = { requestCert = true }, requested = true,
    refused = { code = 'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE', alert = {
      ['TLSv1.2'] = 'handshake failure', ['TLSv1.3'] = 'certificate required',
    } } },
  { text = 'a required client certificate, not trusted', options = { requestCert = true }, requested = true,
    shows = 'foreign', refused = { code = 'UNABLE_TO_VERIFY_LEAF_SIGNATURE', alert = {
      ['TLSv1.2'] = 'unknown ca', ['TLSv1.3'] = 'unknown ca',
    } } },
}

local STAPLES = {
  { text = 'a staple', asked = true },
  { text = 'no staple', asked = false },
}

-- How a client comes back. With `store` the server listens for 'newSession' and 'resumeSession'.
local WAYS = {
  { text = STATELESS },
  { text = BY_ID, store = true, flags = { ['TLSv1.2'] = { '-no_ticket' } } },
  { text = TICKET_DESPITE_STORE, store = true, only = 'TLSv1.2' },
}

-- ---- The rules ----

---@class spec.Cell
---@field version table
---@field context table
---@field client table
---@field staple table
---@field way table
---@field resumed boolean  the client brings a session

-- Whether the session is behind an id that the server's script knows.
local function stateful(c)
  return c.way.text == BY_ID
end

local function asked(condition)
  return condition and 1 or 0
end

-- What the script hears in this one handshake.
local EVENTS = {
  secureConnection = function(c)
    return asked(not c.client.refused)
  end,
  tlsClientError = function(c)
    return asked(c.client.refused)
  end,
  -- Asked in every handshake, resumed ones too, if there is a name.
  SNICallback = function(c)
    return asked(c.context.by == 'SNICallback' and c.context.name)
  end,
  -- A resumed handshake shows no certificate to staple anything to. In a failed one it was shown before the client's.
  OCSPRequest = function(c)
    return asked(c.staple.asked and not c.resumed)
  end,
  -- TLS 1.2 makes one session, where there is none yet and no ticket holds it; TLS 1.3 two at first, later one.
  newSession = function(c)
    if not stateful(c) or c.client.refused then
      return 0
    elseif c.version.name == 'TLSv1.3' then
      return c.resumed and 1 or 2
    end
    return asked(not c.resumed)
  end,
  -- Whoever has a ticket needs no store.
  resumeSession = function(c)
    return asked(c.resumed and stateful(c))
  end,
}

-- What the script sees of a connection that was made.
local FACTS = {
  servername = function(c)
    return c.context.name or false
  end,
  protocol = function(c)
    return c.version.name
  end,
  reused = function(c)
    return c.resumed
  end,
  alpn = function()
    return PROTOCOL
  end,
  -- A session keeps the client's certificate and the verdict on it.
  authorized = function(c)
    return c.client.authorized == true
  end,
  authorizationError = function(c)
    return c.client.complaint or 'none'
  end,
  peer = function(c)
    return c.client.requested and c.client.shows or 'none'
  end,
}

-- What `openssl s_client` sees of it.
local PEER = {
  session = function(c)
    return (c.resumed and 'Reused, ' or 'New, ') .. c.version.name
  end,
  -- Its session remembers whose certificate it was.
  subject = function(c)
    return c.context.named and NAMED or 'default'
  end,
  verified = function()
    return '0 (ok)'
  end,
  stapled = function(c)
    return c.staple.asked and not c.resumed
  end,
  -- The authorities are those of the context that serves. A resumed handshake asks for no certificate.
  authorities = function(c)
    return c.client.requested and not c.resumed and (c.context.named and 'CN = Named' or 'CN = Default') or 'none'
  end,
  alpn = function()
    return PROTOCOL
  end,
  text = function()
    return 'hello\n'
  end,
}

local REFUSED_PEER = {
  alert = function(c)
    return c.client.refused.alert[c.version.name]
  end,
}

local function apply(rules, cell, result)
  for name, rule in pairs(rules) do
    result[name] = rule(cell)
  end
  return result
end

-- What each end must see.
local function expected(c)
  local refused = c.client.refused
  local script = apply(EVENTS, c, {})
  if refused then
    script.code = refused.code
    return { script = script, peer = apply(REFUSED_PEER, c, {}) }
  end
  return { script = apply(FACTS, c, script), peer = apply(PEER, c, {}) }
end

-- ---- What there is ----

local authorities = { default = spec.ca { name = 'Default' }, named = spec.ca { name = 'Named' } }
local identities = {
  default = T.ca:issue { names = { 'default' } },
  named = T.ca:issue { names = { NAMED } },
  default_client = authorities.default:issue { cn = 'good', noSan = true, purpose = 'client' },
  named_client = authorities.named:issue { cn = 'good', noSan = true, purpose = 'client' },
  foreign_client = spec.ca({ name = 'Elsewhere' }):issue { cn = 'foreign', noSan = true, purpose = 'client' },
}
local staples = {
  default = T.ca:ocspResponse(identities.default),
  named = T.ca:ocspResponse(identities.named),
}

local function contextOptions(which)
  local identity = identities[which]
  return { key = identity.key, cert = identity.cert, ca = authorities[which].cert }
end

local namedContext = tls.createSecureContext(contextOptions 'named')

-- ---- One handshake ----

-- The server of a cell. `watch` is where it puts what it sees, and ended() is called when the connection has.
local function serve(await, c, watch)
  local function count(name)
    watch.seen[name] = watch.seen[name] + 1
  end
  local options = T.merged(contextOptions 'default', c.client.options)
  options.ALPNProtocols = { 'other', PROTOCOL }
  if c.context.by == 'SNICallback' then
    function options.SNICallback(servername, callback)
      count 'SNICallback'
      callback(nil, servername == NAMED and namedContext or nil)
    end
  end
  local server, port = P.serve(await, options, function(socket)
    count 'secureConnection'
    watch.facts(socket)
    socket:on('error', function() end)
    socket:on('close', watch.ended)
    socket:finish('hello\n')
    socket:resume()
  end)
  if c.context.by == 'addContext' then
    server:addContext(NAMED, namedContext)
  end
  server:on('tlsClientError', function(err, socket)
    count 'tlsClientError'
    watch.seen.code = err.code
    socket:on('close', watch.ended)
  end)
  server:on('OCSPRequest', function(_, _, callback)
    count 'OCSPRequest'
    setImmediate(callback, nil, c.context.named and staples.named or staples.default)
  end)
  if c.way.store then
    local sessions = {}
    server:on('newSession', function(id, data, callback)
      count 'newSession'
      sessions[id] = data
      setImmediate(callback)
    end)
    server:on('resumeSession', function(id, callback)
      count 'resumeSession'
      setImmediate(callback, nil, sessions[id])
    end)
  end
  return server, port
end

local function seenOf(socket)
  local certificate = socket:getPeerCertificate()
  return {
    servername = socket.servername,
    protocol = socket:getProtocol(),
    reused = socket:isSessionReused(),
    alpn = socket.alpnProtocol,
    authorized = socket.authorized,
    authorizationError = socket.authorizationError or 'none',
    peer = certificate.subject and certificate.subject.CN or 'none',
  }
end

local function arguments(c, port, files, session)
  local argv = { 'openssl', 's_client', '-connect', '127.0.0.1:' .. port, c.version.flag, '-CAfile', files.ca,
    '-alpn', PROTOCOL, c.resumed and '-sess_in' or '-sess_out', session }
  local function add(...)
    for _, argument in ipairs { ... } do
      argv[#argv + 1] = argument
    end
  end
  if c.context.name then
    add('-servername', c.context.name)
  else
    add('-noservername')
  end
  if c.client.shows then
    local which = c.client.shows == 'good' and (c.context.named and 'named' or 'default') or c.client.shows
    add('-cert', files[which .. '_client_cert'], '-key', files[which .. '_client_key'])
  end
  if c.staple.asked then
    add('-status')
  end
  add(unpack(c.way.flags and c.way.flags[c.version.name] or {}))
  return argv
end

-- What `openssl s_client` printed.
local function readPeer(c, stdout, stderr)
  if c.client.refused then
    return { alert = stderr:match('alert ([%l ]+):') }
  end
  return {
    session = stdout:match('\n(%a+, TLSv[%d.]+), Cipher is'),
    subject = stdout:match('\nsubject=CN = ([^\n]*)'),
    verified = stdout:match('Verify return code: ([^\n]*)'),
    stapled = stdout:match('OCSP Response Status: successful') ~= nil,
    authorities = stdout:match('Acceptable client certificate CA names\n(CN = .-)\n%u')
      or stdout:match('No client certificate CA names sent') and 'none',
    alpn = stdout:match('ALPN protocol: ([^\n]*)'),
    text = stdout:match('hello\n'), -- perhaps in the middle of what it tells of a new session
  }
end

-- Has a client visit and waits until both ends have seen the end.
local function visit(await, c, watch, port, files, session)
  watch.seen = { secureConnection = 0, tlsClientError = 0, SNICallback = 0, OCSPRequest = 0, newSession = 0,
    resumeSession = 0 }
  function watch.facts(socket)
    for name, value in pairs(seenOf(socket)) do
      watch.seen[name] = value
    end
  end
  local peer
  await(function(done)
    local ends = 0
    function watch.ended()
      ends = ends + 1
      if ends == 2 then
        done()
      end
    end
    -- Its input stays open: it ends when the server has.
    spec.command(arguments(c, port, files, session), { input = false }, function(_, stdout, stderr)
      peer = readPeer(c, stdout, stderr)
      watch.ended()
    end)
  end)
  return { script = watch.seen, peer = peer }
end

-- ---- The cells ----

-- Several servers of one kind of context and client, side by side; their clients one after the other.
local function lanesOf(context, client)
  local lanes = {}
  for _, staple in ipairs(STAPLES) do
    for _, way in ipairs(WAYS) do
      local lane = {}
      for _, version in ipairs(VERSIONS) do
        if (way.only or version.name) == version.name then
          for _, resumed in ipairs(client.refused and { false } or { false, true }) do
            lane[#lane + 1] = { context = context, client = client, staple = staple, way = way, version = version,
              resumed = resumed }
          end
        end
      end
      lanes[#lanes + 1] = lane
    end
  end
  return lanes
end

local function runLane(await, lane, number, files)
  local watch = {}
  local server, port = serve(await, lane[1], watch)
  for _, c in ipairs(lane) do
    c.seen = visit(await, c, watch, port, files, ('%s/session-%d.pem'):format(files.dir, number))
  end
  P.close(await, server)
end

local function runLanes(await, lanes, files)
  await(function(done)
    local left = #lanes
    for i, lane in ipairs(lanes) do
      start(runLane, function()
        left = left - 1
        if left == 0 then
          done()
        end
      end, lane, i, files)
    end
  end)
end

local function sentence(c)
  local session = c.resumed and 'resumes ' .. c.way.text or 'makes ' .. c.way.text
  if c.client.refused then
    session = ('is refused with %s'):format(c.way.text)
  end
  return ('%s, asked for %s (%s)'):format(session, c.staple.text, c.version.name)
end

for _, context in ipairs(CONTEXTS) do
  for _, client in ipairs(CLIENTS) do
    describe(('a handshake with %s and %s'):format(context.text, client.text), function()
      local lanes = lanesOf(context, client)
      lazy_setup(P.test(identities, function(await, files)
        runLanes(await, lanes, files)
      end, { timeout = 60000 }))
      for _, lane in ipairs(lanes) do
        for _, c in ipairs(lane) do
          it(sentence(c), function()
            assert.same(expected(c), c.seen)
          end)
        end
      end
    end)
  end
end
