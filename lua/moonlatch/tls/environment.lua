--- What the command line and the environment say about TLS: defaults and extra trust.
local keylog = require 'moonlatch.tls.keylog'
local trace = require 'moonlatch.tls.trace'
local native = require 'moonlatch.native'

-- Program options that set a default, as [option] = { field, value }; a later one in this list wins.
local VERSION_OPTIONS = {
  { 'tls-v1.0', 'DEFAULT_MIN_VERSION', 'TLSv1' },
  { 'tls-v1.1', 'DEFAULT_MIN_VERSION', 'TLSv1.1' },
  { 'tls-min-v1.3', 'DEFAULT_MIN_VERSION', 'TLSv1.3' },
  { 'tls-min-v1.2', 'DEFAULT_MIN_VERSION', 'TLSv1.2' },
  { 'tls-min-v1.1', 'DEFAULT_MIN_VERSION', 'TLSv1.1' },
  { 'tls-min-v1.0', 'DEFAULT_MIN_VERSION', 'TLSv1' },
  { 'tls-max-v1.2', 'DEFAULT_MAX_VERSION', 'TLSv1.2' },
  { 'tls-max-v1.3', 'DEFAULT_MAX_VERSION', 'TLSv1.3' },
}

local function defaults(tls, given)
  for _, option in ipairs(VERSION_OPTIONS) do
    if given[option[1]] then
      tls[option[2]] = option[3]
    end
  end
  local list = given['tls-cipher-list']
  if type(list) == 'string' then
    tls.DEFAULT_CIPHERS = list
  end
end

-- A file that cannot be read is a warning: the program may not need it.
local function trust(given, errors)
  local extra = os.getenv 'MOONLATCH_EXTRA_CA_CERTS' or os.getenv 'NODE_EXTRA_CA_CERTS'
  local useOpensslCa = given['use-openssl-ca'] and true or false
  if not extra and not useOpensslCa then
    return
  end
  local ok, err = native.configureTrust(useOpensslCa, extra)
  if not ok then
    errors.emitWarning(('Ignoring extra certs from `%s`, load failed: %s'):format(extra, tostring(err.message)))
  end
end

return function(tls, errors)
  local given = native.options or {}
  defaults(tls, given)
  trust(given, errors)
  keylog.start()
  trace.start()
end
