-- A server that staples: it asks the responder that its certificate names, verifies the answer before anybody gets to
-- see it, and keeps it until the responder has news. Clients that ask meanwhile wait for one and the same answer.
--
--   moonlatch examples/ocsp_stapling.lua <port> <key> <certificate> <authority>
--
--   openssl s_client -status -connect localhost:<port> -CAfile <authority>
local crypto = require 'crypto'
local fs = require 'fs'
local net = require 'net'
local tls = require 'tls'

local TIMEOUT = 5000           -- milliseconds that a responder may be silent
local LONGEST = 65536          -- bytes of an answer
local RETRY = 30               -- seconds before a responder that failed is asked again
local EARLY = 300              -- seconds before nextUpdate at which we ask for news
local UNSAID = 60              -- seconds that an answer counts which does not say how long it does

-- ---- HTTP, as far as it is needed ----

local function parseUrl(url)
  local authority, path = url:match('^http://([^/?#]+)([^#]*)$')
  if not authority then
    return nil
  end
  local host, port = authority:match('^%[(.-)%]:?(%d*)$')
  if not host then
    host, port = authority:match('^([^:]*):?(%d*)$')
  end
  return host and { host = host, port = tonumber(port) or 80, path = path == '' and '/' or path, authority = authority }
end

-- POSTs `body` and calls back with an error, or with the body of the answer. HTTP/1.0: the answer ends with the
-- connection, and comes in one piece.
local function post(url, body, callback)
  local target = parseUrl(url)
  if not target then
    callback(Error('no address over HTTP: ' .. url))
    return
  end
  local answer, failure = '', nil
  local socket = net.connect(target.port, target.host)
  socket:setTimeout(TIMEOUT, function()
    socket:destroy(Error('the responder is silent'))
  end)
  socket:write(('POST %s HTTP/1.0\r\nHost: %s\r\nContent-Type: application/ocsp-request\r\nContent-Length: %d\r\n\r\n')
    :format(target.path, target.authority, #body) .. body)
  socket:on('data', function(chunk)
    answer = answer .. chunk
    if #answer > LONGEST then
      socket:destroy(Error('the responder does not come to an end'))
    end
  end)
  socket:on('error', function(err)
    failure = err
  end)
  socket:on('close', function()
    local head, rest = answer:match('^(.-)\r?\n\r?\n(.*)$')
    local status = head and head:match('^HTTP/1%.%d (%d%d%d)')
    if failure then
      callback(failure)
    elseif status ~= '200' then
      callback(Error('the responder answered with status ' .. tostring(status)))
    else
      callback(nil, rest)
    end
  end)
end

-- ---- Answers, and how long they count ----

local cache = {} -- by the request's id: { response=, refresh=, expires=, waiting= }

-- The time for which a verified answer counts, in seconds since 1970. One that says "unknown", or cannot be relied on,
-- is an error.
local function judge(response, certificate, issuer)
  local said = crypto.ocsp.parse(response, issuer, { certificate = certificate })
  if not said.verified then
    error(said.verifyError, 0)
  elseif said.status == 'unknown' then
    error(Error('the responder does not know the certificate'), 0)
  end
  print(('the responder says: %s until %s'):format(said.status, said.nextUpdate or 'further notice'))
  return said.nextUpdateDate or os.time() + UNSAID
end

local function finish(entry, err)
  if err then
    print('no news: ' .. tostring(err))
    entry.refresh = os.time() + RETRY
  end
  local waiting = entry.waiting
  entry.waiting = nil
  for _, callback in ipairs(waiting) do
    callback(entry.response)
  end
end

local function fetch(entry, request, certificate, issuer)
  post(request.url, request.der, function(err, response)
    if not err then
      local ok, expires = pcall(judge, response, certificate, issuer)
      if ok then
        entry.response, entry.expires = response, expires
        entry.refresh = math.max(expires - EARLY, os.time() + RETRY)
      else
        err = expires
      end
    end
    finish(entry, err)
  end)
end

-- Calls back with an answer that counts, or with nothing.
local function staple(certificate, issuer, callback)
  local request = crypto.ocsp.request(certificate, issuer)
  local entry = cache[request.id] or { refresh = 0, expires = 0 }
  cache[request.id] = entry
  local now = os.time()
  if entry.expires <= now then
    entry.response = nil
  end
  if now < entry.refresh or not request.url then
    callback(entry.response)
  elseif entry.waiting then
    table.insert(entry.waiting, callback)
  else
    entry.waiting = { callback }
    fetch(entry, request, certificate, issuer)
  end
end

-- ---- The server ----

local port, key, certificate, authority = unpack(process.argv, 3)

local server = tls.createServer({
  key = fs.readFileSync(key),
  cert = fs.readFileSync(certificate),
  ca = fs.readFileSync(authority), -- where the issuer of the certificate is found
}, function(socket)
  socket:on('error', function() end)
  socket:finish('hello\n')
end)

server:on('OCSPRequest', function(served, issuer, callback)
  if not issuer then
    callback()
    return
  end
  staple(served, issuer, function(response)
    print(response and 'stapled' or 'not stapled')
    callback(nil, response)
  end)
end)

server:on('tlsClientError', function(err)
  print('handshake failed: ' .. tostring(err))
end)

server:listen(tonumber(port), function()
  print('listening on port ' .. server:address().port)
end)
