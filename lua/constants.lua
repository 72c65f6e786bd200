--- Numbers by name, as Node's `constants`: errno values, signals, flags of open(2) and everything of OpenSSL.
--- `crypto.constants` holds OpenSSL's alone.

local native = require 'moonlatch.native'

---@type table<string, integer>
local constants = {}

for _, group in ipairs { 'errno', 'signals', 'files', 'openssl' } do
  for name, value in pairs(native.constants(group)) do
    constants[name] = value
  end
end

return constants
