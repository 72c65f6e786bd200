--- `openssl ocsp` as the responder of an authority: its list of certificates, single answers, and a server.
local fs = require 'fs'
local spec = require 'moonlatch.spec'
local P = require 'spec.support.peers'

local M = {}

local DAY = 86400

local function stamp(seconds)
  return os.date('!%y%m%d%H%M%SZ', seconds)
end

---@class Responder
---@field dir string
local Responder = {}
Responder.__index = Responder

--- Writes what `openssl ocsp` needs into `dir`: the certificates of `issued` are good, those of `revoked` (by reason)
--- are not, it knows of no others.
---@param dir string
---@param authority moonlatch.spec.Identity
---@param options { issued?: moonlatch.spec.Identity[], revoked?: table<string, moonlatch.spec.Identity>,
---  signer?: moonlatch.spec.Identity, arguments?: string[] }
---@return Responder
function M.new(dir, authority, options)
  local lines, now = {}, os.time()
  for _, identity in ipairs(options.issued or {}) do
    lines[#lines + 1] = ('V\t%s\t\t%s\tunknown\t/CN=x\n'):format(stamp(now + DAY), identity.serialNumber)
  end
  for reason, identity in pairs(options.revoked or {}) do
    lines[#lines + 1] = ('R\t%s\t%s,%s\t%s\tunknown\t/CN=x\n'):format(stamp(now + DAY), stamp(now - DAY), reason,
      identity.serialNumber)
  end
  local signer = options.signer or authority
  local files = { index = table.concat(lines), ca = authority.cert, signer = signer.cert, key = signer.key }
  for name, content in pairs(files) do
    fs.writeFileSync(('%s/responder-%s'):format(dir, name), content)
  end
  return setmetatable({ dir = dir, arguments = options.arguments or {} }, Responder)
end

function Responder:path(name)
  return ('%s/responder-%s'):format(self.dir, name)
end

function Responder:argv(...)
  local argv = { 'openssl', 'ocsp', '-index', self:path 'index', '-CA', self:path 'ca', '-rsigner', self:path 'signer',
    '-rkey', self:path 'key' }
  for _, list in ipairs { self.arguments, { ... } } do
    for _, argument in ipairs(list) do
      argv[#argv + 1] = argument
    end
  end
  return argv
end

--- Answers one request.
---@param request string  DER
---@return string response  DER
function Responder:answer(await, request)
  fs.writeFileSync(self:path 'request', request)
  local status, _, stderr = P.run(await,
    self:argv('-reqin', self:path 'request', '-respout', self:path 'response', '-noverify'))
  assert(status == 0, stderr)
  return fs.readFileSync(self:path 'response')
end

--- Starts it as a server over HTTP.
---@return moonlatch.spec.Command command
---@return integer port
function Responder:serve(await)
  local command = spec.command(self:argv('-port', '0'), { input = false })
  return command, tonumber(P.waitFor(await, command, 'stdout', 'ACCEPT %S+:(%d+)'))
end

return M
