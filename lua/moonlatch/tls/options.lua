--- The options of tls.createSecureContext: the one list of what they are called, what they may be, and what the
--- native context is told.
local errors = require 'moonlatch.errors'
local constants = require 'constants'
local tls = require 'moonlatch.tls.namespace'

local validate, codes = errors.validate, errors.codes
local type, ipairs = type, ipairs

local VERSIONS = {
  ['TLSv1'] = constants.TLS1_VERSION,
  ['TLSv1.1'] = constants.TLS1_1_VERSION,
  ['TLSv1.2'] = constants.TLS1_2_VERSION,
  ['TLSv1.3'] = constants.TLS1_3_VERSION,
}

-- SSL_METHODS by name: the range each one stands for (ssl(7)). SSLv23 is the oldest spelling of "any up to 1.2".
local METHODS = {
  SSLv23 = { 0, constants.TLS1_2_VERSION },
  TLS = { 0, constants.TLS1_3_VERSION },
  TLSv1 = { constants.TLS1_VERSION, constants.TLS1_VERSION },
  TLSv1_1 = { constants.TLS1_1_VERSION, constants.TLS1_1_VERSION },
  TLSv1_2 = { constants.TLS1_2_VERSION, constants.TLS1_2_VERSION },
}

local function raise(err)
  error(err, 0)
end

-- As in Node, false and nil both mean "not given".
local function given(value)
  return value ~= nil and value ~= false
end

local function checkText(name, value)
  if type(value) ~= 'string' then
    raise(errors.argType('options.' .. name, 'string', value))
  end
  return value
end

local function checkFlag(options, name)
  if options[name] ~= nil then
    validate.boolean(options[name], 'options.' .. name)
  end
end

-- A string, a list of strings, or a list of tables that hold the string under `field` with a passphrase.
local function blobs(name, value, field)
  if type(value) ~= 'table' then
    return { checkText(name, value) }
  end
  if field and value[field] ~= nil then
    value = { value }
  end
  local list = {}
  for _, item in ipairs(value) do
    if field and type(item) == 'table' then
      local passphrase = item.passphrase
      if given(passphrase) then
        checkText(name .. '.passphrase', passphrase)
      end
      list[#list + 1] = { checkText(name .. '.' .. field, item[field]), given(passphrase) and passphrase or nil }
    elseif given(item) then
      list[#list + 1] = checkText(name, item)
    end
  end
  if #list == 0 and next(value) ~= nil and value[1] ~= false then
    raise(errors.argType('options.' .. name, 'string', value))
  end
  return list
end

---@param which 'minimum'|'maximum'
local function version(which, value, default)
  if value == nil then
    value = default
  end
  return VERSIONS[value] or raise(codes.ERR_TLS_INVALID_PROTOCOL_VERSION(tostring(value), which))
end

local function protocolRange(options, target)
  local method = options.secureProtocol
  if not given(method) then
    target.minVersion = version('minimum', options.minVersion, tls.DEFAULT_MIN_VERSION)
    target.maxVersion = version('maximum', options.maxVersion, tls.DEFAULT_MAX_VERSION)
    return
  end
  checkText('secureProtocol', method)
  if options.minVersion ~= nil then
    raise(codes.ERR_TLS_PROTOCOL_VERSION_CONFLICT(options.minVersion, method))
  elseif options.maxVersion ~= nil then
    raise(codes.ERR_TLS_PROTOCOL_VERSION_CONFLICT(options.maxVersion, method))
  end
  local name = method:match('^(.-)_client_method$') or method:match('^(.-)_server_method$')
    or method:match('^(.-)_method$')
  if name == 'SSLv2' or name == 'SSLv3' then
    raise(codes.ERR_TLS_INVALID_PROTOCOL_METHOD(name .. ' methods disabled'))
  end
  local range = METHODS[name]
  if not range then
    raise(codes.ERR_TLS_INVALID_PROTOCOL_METHOD('Unknown method: ' .. method))
  end
  target.minVersion, target.maxVersion = range[1], range[2]
end

-- One list with the names of both worlds becomes the two lists that OpenSSL wants. Naming suites of only one world
-- rules the other out.
local function ciphers(options, target)
  local list = options.ciphers
  if given(list) then
    checkText('ciphers', list)
  end
  if not given(list) or list == '' then
    list = tls.DEFAULT_CIPHERS
  end
  local older, suites = {}, {}
  for name in list:gmatch('[^:]+') do
    local kind = name:find('^TLS_') and suites or older
    kind[#kind + 1] = name
  end
  if #older == 0 and #suites == 0 then
    raise(errors.argValue('options.ciphers', list))
  end
  target.ciphers, target.cipherSuites = table.concat(older, ':'), table.concat(suites, ':')
  local v12, v13 = VERSIONS['TLSv1.2'], VERSIONS['TLSv1.3']
  if #suites == 0 and target.maxVersion > v12 and target.minVersion < v13 then
    target.maxVersion = v12
  end
  if #older == 0 and target.minVersion < v13 and target.maxVersion > v12 then
    target.minVersion = v13
  end
end

local function groups(options, target)
  local curve = options.ecdhCurve
  if curve == nil then
    curve = tls.DEFAULT_ECDH_CURVE
  end
  if curve == false then
    return
  end
  checkText('ecdhCurve', curve)
  if curve ~= 'auto' and curve ~= '' then
    target.groups = curve
  end
end

local function dhparam(options, target)
  local value = options.dhparam
  if not given(value) then
    return
  end
  checkText('dhparam', value)
  if value == 'auto' then
    target.dhAuto = true
  else
    target.dhparam = value
  end
end

local function bitmask(options, target)
  local value = options.secureOptions
  if given(value) then
    validate.integer(value, 'options.secureOptions', 0)
    target.setOptions = value
  end
  checkFlag(options, 'honorCipherOrder')
  -- An exclusive or of the mask, by hand: bit operations stop at 32 bits.
  if options.honorCipherOrder then
    local mask = constants.SSL_OP_CIPHER_SERVER_PREFERENCE
    local set = target.setOptions or 0
    if math.floor(set / mask) % 2 == 0 then
      set = set + mask
    end
    target.setOptions = set
  end
end

local function sessions(options, target)
  if given(options.sessionIdContext) then
    target.sessionIdContext = checkText('sessionIdContext', options.sessionIdContext)
  end
  if given(options.ticketKeys) then
    local keys = checkText('ticketKeys', options.ticketKeys)
    if #keys ~= 48 then
      raise(errors.argValue('options.ticketKeys', #keys, 'must be exactly 48 bytes'))
    end
    target.ticketKeys = keys
  end
  if options.sessionTimeout ~= nil then
    validate.integer(options.sessionTimeout, 'options.sessionTimeout', 0, 2 ^ 31 - 1)
    target.sessionTimeout = options.sessionTimeout
  end
end

local function texts(options, target)
  for _, name in ipairs { 'passphrase', 'sigalgs' } do
    local value = options[name]
    if value ~= nil and value ~= false then
      target[name] = checkText(name, value)
    end
  end
  if target.sigalgs == '' then
    raise(errors.argValue('options.sigalgs', ''))
  end
end

local M = {}

--- Whom to ask for a certificate and whether to insist on a good one: nothing to guess about, so a value that is
--- merely true or merely false raises.
---@param options table
function M.checkPolicy(options)
  checkFlag(options, 'requestCert')
  checkFlag(options, 'rejectUnauthorized')
end

--- Checks the script's options and copies them into what the native context takes. Raises at the first that is wrong.
---@param options table
---@return table
function M.read(options)
  local target = { ownTrust = given(options.ca) }
  for _, name in ipairs { 'cert', 'ca', 'crl' } do
    if given(options[name]) then
      target[name] = blobs(name, options[name])
    end
  end
  if given(options.key) then
    target.key = blobs('key', options.key, 'pem')
  end
  if given(options.pfx) then
    target.pfx = blobs('pfx', options.pfx, 'buf')
  end
  protocolRange(options, target)
  ciphers(options, target)
  groups(options, target)
  dhparam(options, target)
  bitmask(options, target)
  texts(options, target)
  sessions(options, target)
  return target
end

return M
