-- A router: one TLS port in front of plain services. Which service a client gets is decided while its handshake waits,
-- by what it says first: the name it asks for, the protocols it speaks, the fingerprint of its software. The directory
-- that knows the services answers later, as a database would.
--
--   moonlatch examples/sni_router_async.lua [port]
--
-- Without a port it shows itself: with two names that it knows, one that it does not, and a client that it will not
-- have.
local net = require 'net'
local tls = require 'tls'
local spec = require 'moonlatch.spec'

local ca = spec.ca { name = 'Router example authority' }

-- ---- The services behind: each greets in plain text, and echoes ----

local function startService(greeting, ready)
  local service
  service = net.createServer(function(socket)
    socket:on('error', function() end)
    socket:write(greeting .. '\n')
    socket:pipe(socket)
  end)
  service:listen(0, '127.0.0.1', function()
    ready(service)
  end)
end

local services = {} -- by name

-- ---- The directory ----

-- Calls back with { context, port } for a name, or without one for a name that nobody has. A certificate is made the
-- first time that somebody asks for it.
local tenants = {}
local function findTenant(name, callback)
  setTimeout(function()
    local service = services[name]
    if service and not tenants[name] then
      local leaf = ca:issue { names = { name } }
      tenants[name] = {
        context = tls.createSecureContext { key = leaf.key, cert = leaf.cert },
        port = service:address().port,
      }
    end
    callback(tenants[name])
  end, 10)
end

-- ---- The router ----

-- Fingerprints (JA4) of software that is turned away.
local unwanted = {}

local router = tls.createServer({ ALPNProtocols = { 'greet/1' } }, function(socket)
  local service = net.connect(socket.tenant.port, '127.0.0.1')
  local function over()
    socket:destroy()
    service:destroy()
  end
  socket:on('error', over)
  service:on('error', over)
  socket:pipe(service)
  service:pipe(socket)
end)

-- An error with `alert` refuses the client by that alert.
router:on('clientHello', function(hello, socket, callback)
  print(('%s asks for %s, speaks %s'):format(hello.ja4, tostring(hello.servername),
    table.concat(hello.alpnProtocols, ' ')))
  if unwanted[hello.ja4] then
    callback { alert = 'access_denied' }
  elseif not hello.servername then
    callback { alert = 'missing_extension' }
  else
    findTenant(hello.servername, function(tenant)
      if socket.destroyed then
        return -- the client has not waited
      end
      if tenant then
        socket.tenant = tenant
        callback(nil, tenant.context)
      else
        callback { alert = 'unrecognized_name' }
      end
    end)
  end
end)

router:on('tlsClientError', function(err)
  print('turned away: ' .. tostring(err.alert or err.code or err.message))
end)

-- ---- A client ----

local function visit(servername, options, done)
  options.port, options.servername, options.ca = router:address().port, servername, ca.cert
  options.ALPNProtocols = { 'greet/1' }
  local socket = tls.connect(options)
  socket:on('data', function(data)
    io.stdout:write(servername, ' says: ', data)
    socket:finish()
  end)
  socket:on('error', function(err)
    print(servername .. ': ' .. err.code)
  end)
  socket:on('close', done)
end

local function showItself()
  visit('alpha.example', {}, function()
    visit('beta.example', {}, function()
      visit('gamma.example', {}, function()
        router:once('clientHello', function(hello)
          unwanted[hello.ja4] = true -- from now on
        end)
        visit('alpha.example', { maxVersion = 'TLSv1.2' }, function()
          visit('alpha.example', { maxVersion = 'TLSv1.2' }, function()
            router:close()
            for _, service in pairs(services) do
              service:close()
            end
          end)
        end)
      end)
    end)
  end)
end

local port = tonumber(process.argv[3])
startService('this is alpha', function(alpha)
  startService('this is beta', function(beta)
    services['alpha.example'], services['beta.example'] = alpha, beta
    router:listen(port or 0, function()
      print('listening on port ' .. router:address().port)
      if not port then
        showItself()
      end
    end)
  end)
end)
