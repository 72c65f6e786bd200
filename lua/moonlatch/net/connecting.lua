--- How a net.Socket gets connected: look-up, attempts one after another (RFC 8305), their failures.

local arguments = require 'moonlatch.net.arguments'
local errors = require 'moonlatch.errors'
local native = require 'moonlatch.native'
local tick = require 'moonlatch.tick'

local type, ipairs, format = type, ipairs, string.format
local nextTick, isIP = tick.nextTick, native.isIP
local codes, validate = errors.codes, errors.validate

local connecting = {}

-- One round of attempts: the addresses to try in order and how each failed.
---@class moonlatch.net.Attempts
---@field list { address: string, family: 4|6 }[]
---@field current integer    index of the attempt under way
---@field several boolean    whether there is a choice of addresses
---@field errors Error[]
---@field port integer
---@field localAddress? string
---@field localPort? integer
---@field timeout integer    milliseconds that an attempt has while another address is left
---@field timer? Timeout

local function stopTimer(attempts)
  if attempts.timer then
    attempts.timer:close()
    attempts.timer = nil
  end
end

-- Connecting failed altogether, in a tick of its own: nobody can be listening for 'error' yet.
local function failLater(socket, err)
  nextTick(socket.destroy, socket, err)
end

-- A failure names our end too when the script chose it.
local function nameLocalEnd(attempts, err)
  if attempts.localAddress and attempts.localPort and err.syscall ~= 'bind' then
    err.localAddress, err.localPort = attempts.localAddress, attempts.localPort
    err.message = format('%s - Local (%s:%s)', err.message, err.localAddress, err.localPort)
  end
  return err
end

local function allFailed(attempts)
  local list = attempts.errors
  if not attempts.several then
    return list[1]
  end
  local messages = {}
  for i, err in ipairs(list) do
    messages[i] = err.message
  end
  return errors.new(table.concat(messages, '; '),
    { name = 'AggregateError', code = list[1].code, errors = list })
end

-- A handle that stands on another stream has no connection of its own to make.
local function connectHandle(handle, method, ...)
  if not handle[method] then
    return nil, errors.new('connect EISCONN', { code = 'EISCONN', errno = -106, syscall = 'connect' })
  end
  return handle[method](handle, ...)
end

local tryNext

local function onAttemptTimeout(socket, attempts)
  attempts.timer = nil
  local target = attempts.list[attempts.current]
  socket:emit('connectionAttemptTimeout', target.address, attempts.port, target.family)
  if not socket.connecting or socket._attempts ~= attempts then
    return
  end
  attempts.errors[#attempts.errors + 1] = errors.new(
    format('connect ETIMEDOUT %s:%d', target.address, attempts.port),
    { code = 'ETIMEDOUT', errno = -110, syscall = 'connect', address = target.address, port = attempts.port })
  tryNext(socket, attempts)
end

local function attemptFailed(socket, attempts, err)
  local target = attempts.list[attempts.current]
  err = nameLocalEnd(attempts, err)
  attempts.errors[#attempts.errors + 1] = err
  socket:emit('connectionAttemptFailed', target.address, attempts.port, target.family, err)
  if socket.connecting and socket._attempts == attempts then
    tryNext(socket, attempts)
  end
end

-- Starts the next attempt, or gives up after the last.
function tryNext(socket, attempts)
  stopTimer(attempts)
  local target = attempts.list[attempts.current + 1]
  if not target then
    socket:destroy(allFailed(attempts))
    return
  end
  attempts.current = attempts.current + 1
  if attempts.current > 1 then
    socket:_replaceHandle(native.sock())
  end
  if attempts.several then
    local attempted = socket.autoSelectFamilyAttemptedAddresses
    attempted[#attempted + 1] = format('%s:%d', target.address, attempts.port)
  end
  socket:emit('connectionAttempt', target.address, attempts.port, target.family)
  if not socket.connecting or socket._attempts ~= attempts then
    return
  end
  local localAddress = attempts.localAddress
  if attempts.localPort and not localAddress then
    localAddress = target.family == 6 and '::' or '0.0.0.0'
  end
  local ok, err = connectHandle(socket._handle, 'connect', target.address, attempts.port, localAddress,
    attempts.localPort)
  if not ok then
    -- What fails at once need not wait for the loop: no caller is on the stack that has not seen 'connecting'.
    attemptFailed(socket, attempts, err)
  elseif attempts.several and attempts.list[attempts.current + 1] then
    attempts.timer = require('timers').setTimeout(onAttemptTimeout, attempts.timeout, socket, attempts)
  end
end

local function start(socket, options, list)
  local attempts = {
    list = list, current = 0, several = #list > 1, errors = {}, port = options.port,
    localAddress = options.localAddress, localPort = options.localPort,
    timeout = options.autoSelectFamilyAttemptTimeout,
  }
  socket._attempts = attempts
  if attempts.several then
    socket.autoSelectFamilyAttemptedAddresses = {}
  end
  tryNext(socket, attempts)
end

-- The addresses that can be tried, the two families in turn, that of the first answer first (RFC 8305, 4).
local function interleave(addresses)
  local byFamily, seen, preferred = { [4] = {}, [6] = {} }, {}, nil
  for _, answer in ipairs(addresses) do
    local address, family = answer.address, answer.family
    local group = byFamily[family]
    if group and isIP(address) ~= 0 and not seen[address] then
      seen[address] = true
      preferred = preferred or family
      group[#group + 1] = answer
    end
  end
  local list = {}
  if preferred then
    local first, second = byFamily[preferred], byFamily[10 - preferred]
    for i = 1, math.max(#first, #second) do
      list[#list + 1] = first[i]
      list[#list + 1] = second[i]
    end
  end
  return list
end

local function badAnswer(options, address, family)
  if type(address) ~= 'string' or isIP(address) == 0 then
    return codes.ERR_INVALID_IP_ADDRESS(address)
  elseif family ~= 4 and family ~= 6 then
    return codes.ERR_INVALID_ADDRESS_FAMILY(family, options.host, options.port)
  end
  return nil
end

local function onAddress(socket, options, err, address, family)
  socket:emit('lookup', err, address, family, options.host)
  if not socket.connecting then
    return
  end
  err = err or badAnswer(options, address, family)
  if err then
    failLater(socket, err)
  else
    start(socket, options, { { address = address, family = family } })
  end
end

local function onAddresses(socket, options, err, addresses, family)
  if not socket.connecting then
    return
  elseif err or type(addresses) ~= 'table' then
    -- A lookup function of a script may not know the option `all`.
    onAddress(socket, options, err, addresses, family)
    return
  end
  for _, answer in ipairs(addresses) do
    socket:emit('lookup', nil, answer.address, answer.family, options.host)
    if not socket.connecting then
      return
    end
  end
  local list = interleave(addresses)
  if #list == 0 then
    local first = addresses[1] or {}
    failLater(socket, badAnswer(options, first.address, first.family))
  else
    start(socket, options, list)
  end
end

-- What has to come before the first attempt: a look-up, or the end of the tick. One that was given up is not heard any
-- more, whatever the socket does by then.
local function begin(socket)
  local pending = {}
  socket._pendingStart = pending
  return pending
end

local function proceed(socket, pending)
  if socket._pendingStart ~= pending then
    return false
  end
  socket._pendingStart = nil
  return true
end

local FAMILIES = { IPv4 = 4, IPv6 = 6 }

local function lookup(socket, options)
  local dns = require 'dns'
  local family = FAMILIES[options.family] or options.family
  local request = { family = family, hints = options.hints or 0 }
  local eitherFamily = family ~= 4 and family ~= 6
  if eitherFamily and request.hints == 0 then
    request.hints = dns.ADDRCONFIG
  end
  socket._host = options.host
  local find = options.lookup or dns.lookup
  local pending = begin(socket)
  local receive = onAddress
  if options.autoSelectFamily and eitherFamily and not options.localAddress then
    request.all = true
    receive = onAddresses
  end
  -- A lookup of the script's own may answer at once, or twice.
  local query = find(options.host, request, function(err, address, addressFamily)
    if proceed(socket, pending) then
      receive(socket, options, err, address, addressFamily)
    end
  end)
  if find == dns.lookup then
    pending.query = query
  end
end

local function checkPort(port)
  if port ~= nil and type(port) ~= 'number' and type(port) ~= 'string' then
    error(errors.argType('options.port', { 'number', 'string' }, port), 0)
  end
  return validate.port(port or 0)
end

--- Checks what connecting takes and puts the defaults in. Raises.
---@param options table  changed
function connecting.check(options)
  if options.localAddress and isIP(options.localAddress) == 0 then
    error(codes.ERR_INVALID_IP_ADDRESS(options.localAddress), 0)
  end
  if options.localPort then
    validate.number(options.localPort, 'options.localPort')
  end
  options.port = checkPort(options.port)
  if options.host ~= nil then
    validate.string(options.host, 'options.host')
  end
  if options.host == nil or options.host == '' then
    options.host = 'localhost'
  end
  if options.autoSelectFamily == nil then
    options.autoSelectFamily = arguments.autoSelectFamily
  else
    validate.boolean(options.autoSelectFamily, 'options.autoSelectFamily')
  end
  if options.autoSelectFamilyAttemptTimeout == nil then
    options.autoSelectFamilyAttemptTimeout = arguments.autoSelectFamilyAttemptTimeout
  else
    options.autoSelectFamilyAttemptTimeout = arguments.attemptTimeout(
      options.autoSelectFamilyAttemptTimeout, 'options.autoSelectFamilyAttemptTimeout')
  end
  if options.lookup ~= nil then
    validate.func(options.lookup, 'options.lookup')
  end
end

local function startNow(socket, pending, options, family)
  if proceed(socket, pending) then
    start(socket, options, { { address = options.host, family = family } })
  end
end

local function failNow(socket, pending, err)
  if proceed(socket, pending) then
    socket:destroy(err)
  end
end

local function connectPath(socket, path)
  if not socket.connecting then
    return
  end
  local ok, err = connectHandle(socket._handle, 'connectUnix', path)
  if not ok then
    nextTick(failNow, socket, begin(socket), err)
  end
end

--- Starts connecting to options.path or options.host and options.port. The socket has a new handle and `connecting`
--- set; failures come to it through destroy.
---@param socket table
---@param options table  checked
function connecting.start(socket, options)
  if options.path then
    connectPath(socket, options.path)
    return
  end
  local family = isIP(options.host)
  if family ~= 0 then
    nextTick(startNow, socket, begin(socket), options, family)
  else
    lookup(socket, options)
  end
end

--- The handle reports that the attempt failed.
---@param socket table
---@param err Error
function connecting.failed(socket, err)
  local attempts = socket._attempts
  if attempts then
    stopTimer(attempts)
    attemptFailed(socket, attempts, err)
  else
    socket:destroy(err)
  end
end

--- Forgets what is under way: the connection is made, or not wanted any more.
---@param socket table
function connecting.stop(socket)
  local attempts, pending = socket._attempts, socket._pendingStart
  if attempts then
    stopTimer(attempts)
    socket._attempts = nil
  end
  if pending then
    socket._pendingStart = nil
    if pending.query then
      pending.query:cancel()
    end
  end
end

return connecting
