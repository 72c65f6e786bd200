--- What the specs of sessions and tickets share: a server that greets, and visits with a session.
local constants = require 'constants'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'

local M = {}

--- A server that greets each client and ends the connection. Its failures are for the test to listen to.
---@param options? table
---@param onSocket? fun(socket: tls.TLSSocket)
---@return tls.Server server
---@return integer port
function M.serve(await, options, onSocket)
  return P.serve(await, options, function(socket)
    socket:on('error', function() end)
    if onSocket then
      onSocket(socket)
    end
    socket:finish('hello')
    socket:resume()
  end)
end

--- What a visit came to.
---@class spec.Visit
---@field reused? boolean     nil: the handshake was not over
---@field protocol? string
---@field cn? string          whose certificate it was
---@field text string         what the server said
---@field sessions string[]   one for each 'session' event
---@field session? string     the last of them
---@field ticket? string      the ticket in it
---@field key? string         the name of the key that sealed it
---@field error? table

--- Connects once and waits for the end.
---@param options? table  as for tls.connect
---@param watch? fun(socket: tls.TLSSocket, seen: spec.Visit)  for what else is to be seen
---@return spec.Visit
function M.visit(await, port, options, watch)
  local seen = { sessions = {}, text = '' }
  local socket = T.connect(port, options)
  if watch then
    watch(socket, seen)
  end
  socket:on('secureConnect', function()
    seen.reused = socket:isSessionReused()
    seen.protocol = socket:getProtocol()
    seen.cn = socket:getPeerCertificate().subject.CN
  end)
  socket:on('session', function(session)
    table.insert(seen.sessions, session)
    seen.session = session
    seen.ticket = socket:getTLSTicket()
    seen.key = seen.ticket and seen.ticket:sub(1, 16)
  end)
  socket:on('data', function(chunk)
    seen.text = seen.text .. chunk
  end)
  socket:on('error', function(err)
    seen.error = err
  end)
  await(function(closed)
    socket:on('close', function()
      closed()
    end)
  end)
  return seen
end

-- ---- Stores ----

--- Options of a server of one version that has ids to give. Clients of TLS 1.2 that know tickets get those, unless the
--- server has none.
---@param version 'TLSv1.2'|'TLSv1.3'
---@param more? table
---@return table
function M.limits(version, more)
  return T.merged({
    minVersion = version,
    maxVersion = version,
    secureOptions = version == 'TLSv1.2' and constants.SSL_OP_NO_TICKET or nil,
  }, more)
end

--- A store in a table, which answers at once; and what it was asked, in order.
---@return { sessions: table<string, string>, made: string[], asked: string[] }
function M.keep(server)
  local store = { sessions = {}, made = {}, asked = {} }
  server:on('newSession', function(id, data, callback)
    store.sessions[id] = data
    table.insert(store.made, id)
    callback()
  end)
  server:on('resumeSession', function(id, callback)
    table.insert(store.asked, id)
    callback(nil, store.sessions[id])
  end)
  return store
end

--- What a server tells of connections that fail, as it comes.
function M.failures(server)
  local list = {}
  server:on('tlsClientError', function(err)
    table.insert(list, err)
  end)
  return list
end

--- The server, its port, and a session that it has made, which is in its store.
function M.withSession(await, version, options)
  local server, port = M.serve(await, M.limits(version, options))
  local store = M.keep(server)
  local session = M.visit(await, port).session
  server:removeAllListeners('resumeSession')
  return server, port, session, store
end

-- `number` as the DER of a session has it under `tag` (SSL_SESSION_ASN1 in OpenSSL).
local TIME, TIMEOUT = 1, 2
local function field(tag, number)
  local bytes = ''
  repeat
    bytes = string.char(number % 256) .. bytes
    number = math.floor(number / 256)
  until number == 0
  if bytes:byte() >= 128 then
    bytes = '\0' .. bytes
  end
  return string.char(0xa0 + tag, #bytes + 2, 2, #bytes) .. bytes
end

--- The session as it will be after `seconds`.
---@param data string
---@param seconds integer
---@return string
function M.aged(data, seconds)
  local now = os.time()
  for made = now - 60, now do
    local from, to = data:find(field(TIME, made), 1, true)
    if from then
      return data:sub(1, from - 1) .. field(TIME, made - seconds) .. data:sub(to + 1)
    end
  end
  error('the session has no time')
end

--- Whether the session lives for so many seconds.
---@param data string
---@param seconds integer
---@return boolean
function M.lives(data, seconds)
  return data:find(field(TIMEOUT, seconds), 1, true) ~= nil
end

--- Runs `check(await, version, files, expect)` for TLS 1.2 and for TLS 1.3, as two tests.
---@param it function  busted's
function M.eachVersion(it, name, check)
  for _, version in ipairs { 'TLSv1.2', 'TLSv1.3' } do
    it(('%s (%s)'):format(name, version), P.test({}, function(await, files, expect)
      check(await, version, files, expect)
    end))
  end
end

return M
