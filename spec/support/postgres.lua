--- A PostgreSQL server of the spec's own: made in a directory, on an address of loopback that is nobody else's, with
--- TLS.
local fs = require 'fs'
local process = require 'process'
local spec = require 'moonlatch.spec'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'

local M = {}

M.USER = 'ada'

-- Debian keeps each version's programs apart.
local function directoryOfPrograms(await)
  local _, found = P.run(await, 'ls -d /usr/lib/postgresql/*/bin "$(pg_config --bindir)" 2>/dev/null | tail -n 1')
  local path = found:match('^[^\n]+')
  assert(path, 'there are no PostgreSQL programs; script/bootstrap test installs them')
  return path
end

-- The programs refuse to be run by root: they become nobody, who then owns the directory.
local function asSomebody(await, directory, argv)
  local _, id = P.run(await, { 'id', '-u' })
  if tonumber(id) == 0 then
    P.run(await, { 'chown', '-R', 'nobody', directory })
    return { 'setpriv', '--reuid=nobody', '--regid=nogroup', '--clear-groups', '--', unpack(argv) }
  end
  return argv
end

local function run(await, directory, argv)
  local status, _, stderr = P.run(await, asSomebody(await, directory, argv), { cwd = directory })
  assert(status == 0, stderr)
end

---@class spec.Postgres
---@field address string
---@field port integer
---@field command moonlatch.spec.Command

--- Starts a server in `directory`. Its certificate is of the specs' authority, for its address; users are believed.
---@return spec.Postgres
function M.start(await, directory)
  local programs = directoryOfPrograms(await)
  local data = directory .. '/data'
  -- Any address of 127.0.0.0/8 is this machine's, and with the process number in it this one is ours.
  local address = ('127.%d.%d.7'):format(100 + math.floor(process.pid / 256) % 100, process.pid % 256)
  local identity = T.ca:issue { names = { address } }
  run(await, directory, { programs .. '/initdb', '-D', data, '-U', M.USER, '--auth=trust', '--no-sync', '--locale=C' })
  fs.writeFileSync(data .. '/server.key', identity.key, { mode = 384 }) -- 0600
  fs.writeFileSync(data .. '/server.crt', identity.cert)
  local command = spec.command(asSomebody(await, directory, {
    programs .. '/postgres', '-D', data, '-h', address, '-p', '5432', '-k', directory, '-F', '-c', 'ssl=on',
    '-c', 'shared_buffers=1MB', '-c', 'max_connections=5', '-c', 'dynamic_shared_memory_type=mmap',
  }), { input = false, cwd = directory, env = { LC_MESSAGES = 'C' } })
  P.waitFor(await, command, 'stderr', 'ready to accept connections')
  return { address = address, port = 5432, command = command }
end

--- Stops it, whoever is connected.
function M.stop(await, server)
  local SIGINT = 2 -- "fast shutdown"
  server.command:kill(SIGINT)
  P.over(await, server.command)
end

return M
