--- Name look-ups: Node's dns.
---
--- `lookup` answers as a program that is about to connect wants it: literals, /etc/hosts, then the DNS, like
--- getaddrinfo(3). `resolve4`, `resolve6` and `resolve` ask the DNS and nothing else. Nothing blocks on the
--- network. Servers set with `setServers` are asked by both.

local bit = require 'bit'
local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'
local native = require 'moonlatch.native'
local tick = require 'moonlatch.tick'

local type, ipairs, pairs, tostring, concat = type, ipairs, pairs, tostring, table.concat
local codes, validate = errors.codes, errors.validate
local isIP = native.isIP

---@class dns
---@field resolve4 fun(hostname: string, options: { ttl?: boolean }|function, callback?: function): dns.Request
---@field resolve6 fun(hostname: string, options: { ttl?: boolean }|function, callback?: function): dns.Request
---@field resolve fun(hostname: string, rrtype: 'A'|'AAAA'|function, callback?: function): dns.Request
---@field reverse fun(ip: string, callback: fun(err: Error?, hostnames: string[]?)): dns.Request
---@field getServers fun(): string[]
---@field setServers fun(servers: string[])
---@field NODATA string
---@field FORMERR string
---@field SERVFAIL string
---@field NOTFOUND string
---@field NOTIMP string
---@field REFUSED string
---@field BADQUERY string
---@field BADNAME string
---@field BADFAMILY string
---@field BADRESP string
---@field CONNREFUSED string
---@field TIMEOUT string
---@field EOF string
---@field FILE string
---@field NOMEM string
---@field DESTRUCTION string
---@field BADSTR string
---@field BADFLAGS string
---@field NONAME string
---@field BADHINTS string
---@field NOTINITIALIZED string
---@field LOADIPHLPAPI string
---@field ADDRGETNETWORKPARAMS string
---@field CANCELLED string
local dns = {
  -- Hints of lookup, with the values they have in netdb.h.
  V4MAPPED = 8,
  ALL = 16,
  ADDRCONFIG = 32,
}

for _, name in ipairs {
  'NODATA', 'FORMERR', 'SERVFAIL', 'NOTFOUND', 'NOTIMP', 'REFUSED', 'BADQUERY', 'BADNAME', 'BADFAMILY',
  'BADRESP', 'CONNREFUSED', 'TIMEOUT', 'EOF', 'FILE', 'NOMEM', 'DESTRUCTION', 'BADSTR', 'BADFLAGS', 'NONAME',
  'BADHINTS', 'NOTINITIALIZED', 'LOADIPHLPAPI', 'ADDRGETNETWORKPARAMS', 'CANCELLED',
} do
  dns[name] = 'E' .. name
end
dns.EOF = 'EOF'

local FAMILIES = { 0, 4, 6 }
local ORDERS = { 'verbatim', 'ipv4first', 'ipv6first' }

-- libuv's numbers, which scripts written for Node compare with.
local LOOKUP_ERRNO = { ENOTFOUND = -3008, EAI_AGAIN = -3001, EAI_FAIL = -3004, EAI_MEMORY = -3006 }

local defaultOrder = 'verbatim'

--- A failed query's Error, with the whole name and, for lookup, the number that goes with the code.
local function finishError(err, hostname)
  err.hostname = hostname
  if err.syscall == 'getaddrinfo' then
    err.errno = LOOKUP_ERRNO[err.code]
  end
  return err
end

local function notFound(syscall, hostname)
  local err = errors.new(('%s ENOTFOUND %s'):format(syscall, (hostname:gsub('%z', '\\0'))),
    { code = 'ENOTFOUND', syscall = syscall })
  return finishError(err, hostname)
end

--- One query that is under way.
---@class dns.Request
---@field hostname string
---@field package callback function
---@field package resolver? dns.Resolver  while it is pending in one
---@field package id? integer
local Request = class('QueryRequest')

--- Gives the query up: its callback is never called.
function Request:cancel()
  local resolver = self.resolver
  self.deliver = nil
  if resolver then
    self.resolver, resolver.pending[self.id] = nil, nil
    resolver.handle:cancel(self.id)
  end
end

local function request(hostname, callback, deliver)
  return setmetatable({ hostname = hostname, callback = callback, deliver = deliver }, Request.metatable)
end

local function runDeliver(req, err, list)
  if req.deliver then
    req:deliver(err, list)
  end
end

--- Answers on the next tick.
local function answerSoon(req, err, list)
  tick.nextTick(runDeliver, req, err, list)
  return req
end

---@class dns.ResolverOptions
---@field timeout? integer  milliseconds; -1: what the system says
---@field tries? integer    attempts per server

--- Asks servers of its own, independently of the module's functions.
---@class dns.Resolver
---@field package handle userdata
---@field package pending table<integer, dns.Request>
---@overload fun(options?: dns.ResolverOptions): dns.Resolver
local Resolver = class('Resolver')
dns.Resolver = Resolver

--- Raises ERR_INVALID_ARG_TYPE, ERR_OUT_OF_RANGE.
---@param options? dns.ResolverOptions
---@source Node.js dns.Resolver
function Resolver:init(options)
  local timeout, tries = -1, nil
  if options ~= nil then
    validate.table(options, 'options')
    if options.timeout ~= nil then
      timeout = validate.integer(options.timeout, 'options.timeout', -1, 2 ^ 31 - 1)
    end
    if options.tries ~= nil then
      tries = validate.integer(options.tries, 'options.tries', 1, 2 ^ 31 - 1)
    end
  end
  local handle, err = native.resolver(timeout > 0 and timeout or 0, tries or 0)
  if not handle then
    error(err, 0)
  end
  self.handle, self.pending = handle, {}
end

native.handlers('resolver', {
  result = function(resolver, id, err, list)
    local req = resolver.pending[id]
    resolver.pending[id], req.resolver = nil, nil
    if err then
      err = finishError(err, req.hostname)
    end
    req:deliver(err, list)
  end,
})

--- The resolver of the module's own functions, made when it is first needed.
local shared

local function sharedResolver()
  shared = shared or Resolver()
  return shared
end

local function start(resolver, req, method, ...)
  local id, err = resolver.handle[method](resolver.handle, resolver, ...)
  if not id then
    error(err, 0)
  end
  req.resolver, req.id = resolver, id
  resolver.pending[id] = req
  return req
end

-- lookup

--- What native code gives, three values an answer, in the order asked for: a list of { address, family }.
local function ordered(list, order)
  local first, second = {}, {}
  for i = 1, #list, 3 do
    local family = list[i + 1]
    local late = order == 'ipv4first' and family == 6 or order == 'ipv6first' and family == 4
    local part = late and second or first
    part[#part + 1] = { address = list[i], family = family }
  end
  for _, answer in ipairs(second) do
    first[#first + 1] = answer
  end
  return first
end

local function deliverAll(req, err, list)
  if err then
    return req.callback(err)
  end
  return req.callback(nil, ordered(list, req.order))
end

local function deliverOne(req, err, list)
  if err then
    return req.callback(err)
  end
  local answer = ordered(list, req.order)[1]
  return req.callback(nil, answer.address, answer.family)
end

local function deliverNothing(req)
  if req.all then
    return req.callback(nil, {})
  end
  return req.callback(nil, nil, req.family == 6 and 6 or 4)
end

local function nativeHints(hints)
  local out = 0
  if bit.band(hints, dns.ADDRCONFIG) ~= 0 then out = out + 1 end
  if bit.band(hints, dns.V4MAPPED) ~= 0 then out = out + 2 end
  if bit.band(hints, dns.ALL) ~= 0 then out = out + 4 end
  return out
end

---@class dns.LookupOptions
---@field family? 0|4|6|'IPv4'|'IPv6'
---@field hints? integer  dns.ADDRCONFIG, dns.V4MAPPED, dns.ALL, added up
---@field all? boolean    every address as a list, not the first
---@field order? 'verbatim'|'ipv4first'|'ipv6first'
---@field verbatim? boolean  the older form of order

--- Checked copies of the options: family, hints, all, order.
local function readLookupOptions(options)
  local family, hints, order = 0, 0, defaultOrder
  if options.hints ~= nil then
    hints = validate.number(options.hints, 'options.hints')
    local known = bit.bor(dns.ADDRCONFIG, dns.V4MAPPED, dns.ALL)
    if hints ~= bit.band(hints, known) then
      error(errors.argValue('hints', hints), 0)
    end
  end
  if options.family == 'IPv4' then
    family = 4
  elseif options.family == 'IPv6' then
    family = 6
  elseif options.family ~= nil then
    family = validate.oneOf(options.family, 'options.family', FAMILIES)
  end
  if options.all ~= nil then
    validate.boolean(options.all, 'options.all')
  end
  if options.verbatim ~= nil then
    order = validate.boolean(options.verbatim, 'options.verbatim') and 'verbatim' or 'ipv4first'
  end
  if options.order ~= nil then
    order = validate.oneOf(options.order, 'options.order', ORDERS)
  end
  return family, hints, options.all, order
end

local warnedOfNoName = false

local function warnOfNoName(hostname)
  if warnedOfNoName then
    return
  end
  warnedOfNoName = true
  local message = 'The provided hostname "%s" is not a valid hostname, and is supported in the dns module '
    .. 'solely for compatibility.'
  errors.emitWarning(message:format(tostring(hostname)), 'DeprecationWarning', 'DEP0118')
end

--- Finds a host's address. Without a name there is none: the callback gets nil (an empty list).
---
--- Raises ERR_INVALID_ARG_TYPE, and ERR_INVALID_ARG_VALUE for a family, a hint or an order that is none.
---@param hostname string
---@param options? dns.LookupOptions|0|4|6  the options, or just the family
---@param callback fun(err: Error?, address: string|table[]?, family: 4|6?)
---@return dns.Request
---@overload fun(hostname: string, callback: function): dns.Request
---@source Node.js dns.lookup()
function dns.lookup(hostname, options, callback)
  if hostname and type(hostname) ~= 'string' then
    error(errors.argType('hostname', 'string', hostname), 0)
  end
  if callback == nil and validate.isCallable(options) then
    options, callback = nil, options
  end
  local family, hints, all, order = 0, 0, nil, defaultOrder
  if type(options) == 'number' then
    validate.func(callback, 'callback')
    family = validate.oneOf(options, 'family', FAMILIES)
  elseif options ~= nil and type(options) ~= 'table' then
    validate.func(callback, 'callback')
    error(errors.argType('options', { 'integer', 'object' }, options), 0)
  else
    validate.func(callback, 'callback')
    if options then
      family, hints, all, order = readLookupOptions(options)
    end
  end

  local req = request(hostname, callback, all and deliverAll or deliverOne)
  req.family, req.all, req.order = family, all, order
  if not hostname or hostname == '' then
    warnOfNoName(hostname)
    req.deliver = deliverNothing
    return answerSoon(req)
  end
  local literal = isIP(hostname)
  if literal ~= 0 then
    return answerSoon(req, nil, { hostname, literal, 0 })
  elseif hostname:find('%z') then
    return answerSoon(req, notFound('getaddrinfo', hostname))
  end
  return start(sharedResolver(), req, 'lookup', hostname, family, nativeHints(hints))
end

--- In which order lookup gives addresses when it is not told.
---
--- Raises ERR_INVALID_ARG_VALUE.
---@param order 'verbatim'|'ipv4first'|'ipv6first'
---@source Node.js dns.setDefaultResultOrder()
function dns.setDefaultResultOrder(order)
  defaultOrder = validate.oneOf(order, 'dnsOrder', ORDERS)
end

--- In which order lookup gives addresses when it is not told.
---@return 'verbatim'|'ipv4first'|'ipv6first'
---@source Node.js dns.getDefaultResultOrder()
function dns.getDefaultResultOrder()
  return defaultOrder
end

-- resolve and reverse

local function deliverRecords(req, err, list)
  if err then
    return req.callback(err)
  end
  local records = {}
  for i = 1, #list, 3 do
    local address = list[i]
    records[#records + 1] = req.ttl and { address = address, ttl = list[i + 2] } or address
  end
  return req.callback(nil, records)
end

local function deliverNames(req, err, list)
  if err then
    return req.callback(err)
  end
  return req.callback(nil, list)
end

local function askRecords(resolver, family, hostname, options, callback)
  validate.string(hostname, 'name')
  if callback == nil and validate.isCallable(options) then
    options, callback = nil, options
  end
  validate.func(callback, 'callback')
  local req = request(hostname, callback, deliverRecords)
  req.ttl = type(options) == 'table' and options.ttl or false
  if hostname:find('%z') then
    return answerSoon(req, notFound(family == 6 and 'queryAaaa' or 'queryA', hostname))
  end
  return start(resolver, req, 'resolve', hostname, family)
end

--- The IPv4 addresses in the DNS: strings, or with the option ttl { address, ttl }.
---@param hostname string
---@param options? { ttl?: boolean }
---@param callback fun(err: Error?, addresses: string[]|table[]?)
---@return dns.Request
---@overload fun(self: dns.Resolver, hostname: string, callback: function): dns.Request
---@source Node.js resolver.resolve4()
function Resolver:resolve4(hostname, options, callback)
  return askRecords(self, 4, hostname, options, callback)
end

--- The same for IPv6.
---@param hostname string
---@param options? { ttl?: boolean }
---@param callback fun(err: Error?, addresses: string[]|table[]?)
---@return dns.Request
---@overload fun(self: dns.Resolver, hostname: string, callback: function): dns.Request
---@source Node.js resolver.resolve6()
function Resolver:resolve6(hostname, options, callback)
  return askRecords(self, 6, hostname, options, callback)
end

local BY_TYPE = { A = 'resolve4', AAAA = 'resolve6' }

--- The records of a type, 'A' (when it is left out) or 'AAAA'.
---
--- Raises ERR_INVALID_ARG_TYPE, and ERR_INVALID_ARG_VALUE for another type.
---@param hostname string
---@param rrtype? 'A'|'AAAA'
---@param callback fun(err: Error?, addresses: string[]?)
---@return dns.Request
---@overload fun(self: dns.Resolver, hostname: string, callback: function): dns.Request
---@source Node.js resolver.resolve()
function Resolver:resolve(hostname, rrtype, callback)
  if callback == nil and validate.isCallable(rrtype) then
    rrtype, callback = nil, rrtype
  end
  if rrtype == nil then
    rrtype = 'A'
  end
  local method = BY_TYPE[validate.string(rrtype, 'rrtype')]
  if not method then
    error(errors.argValue('rrtype', rrtype), 0)
  end
  return self[method](self, hostname, callback)
end

--- The names of an address, from /etc/hosts or the DNS.
---
--- Raises ERR_INVALID_ARG_TYPE, and EINVAL for what is no address.
---@param ip string
---@param callback fun(err: Error?, hostnames: string[]?)
---@return dns.Request
---@source Node.js resolver.reverse()
function Resolver:reverse(ip, callback)
  validate.string(ip, 'name')
  validate.func(callback, 'callback')
  if isIP(ip) == 0 then
    error(errors.new('getHostByAddr EINVAL ' .. ip, { code = 'EINVAL', errno = -22, syscall = 'getHostByAddr',
      hostname = ip }), 0)
  end
  return start(self, request(ip, callback, deliverNames), 'reverse', ip)
end

--- Ends all queries of this resolver: their callbacks get an error with code ECANCELLED.
---@source Node.js resolver.cancel()
function Resolver:cancel()
  local waiting = self.pending
  self.pending = {}
  for id, req in pairs(waiting) do
    self.handle:cancel(id)
    req.resolver = nil
    answerSoon(req, errors.new('query ECANCELLED ' .. req.hostname,
      { code = 'ECANCELLED', syscall = 'query', hostname = req.hostname }))
  end
end

-- Servers

--- "127.0.0.1", "127.0.0.1:53", "::1", "[::1]", "[::1]:53" → address, port (0 when there is none).
local function parseServer(text)
  if isIP(text) ~= 0 then
    return text, 0
  end
  local ip, port = text:match('^%[([^%]]*)%]$'), '0'
  if not ip then
    ip, port = text:match('^%[([^%]]*)%]:(%d+)$')
    if ip and isIP(ip) ~= 6 then
      return nil
    end
  end
  if not ip then
    ip, port = text:match('^([%d.]+):(%d+)$')
  end
  if not ip or isIP(ip) == 0 or tonumber(port) > 65535 then
    return nil
  end
  return ip, tonumber(port)
end

--- Whom to ask, in this order: addresses, each with a port when it is not 53. Not while a query is pending.
---
--- Raises ERR_INVALID_ARG_TYPE, ERR_INVALID_IP_ADDRESS, ERR_DNS_SET_SERVERS_FAILED.
---@param servers string[]
---@source Node.js resolver.setServers()
function Resolver:setServers(servers)
  if type(servers) ~= 'table' then
    error(errors.argType('servers', 'Array', servers), 0)
  end
  local flat = {}
  for i, text in ipairs(servers) do
    validate.string(text, ('servers[%d]'):format(i))
    local ip, port = parseServer(text)
    if not ip then
      error(codes.ERR_INVALID_IP_ADDRESS(text), 0)
    end
    flat[#flat + 1], flat[#flat + 2] = ip, port
  end
  local ok, err = self.handle:setServers(flat)
  if not ok then
    error(codes.ERR_DNS_SET_SERVERS_FAILED(err.message, concat(servers, ',')), 0)
  end
end

--- Whom this resolver asks, as setServers takes them.
---@return string[]
---@source Node.js resolver.getServers()
function Resolver:getServers()
  local list = {}
  for text in self.handle:servers():gmatch('[^,]+') do
    list[#list + 1] = text
  end
  return list
end

for _, name in ipairs { 'resolve4', 'resolve6', 'resolve', 'reverse', 'setServers', 'getServers' } do
  dns[name] = function(...)
    local resolver = sharedResolver()
    return resolver[name](resolver, ...)
  end
end

return dns
