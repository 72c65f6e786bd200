--- What a context's options do on the wire, as the openssl program sees it from the other end.
local assert = require 'luassert'
local tls = require 'tls'
local P = require 'spec.support.peers'
local T = require 'spec.support.tls'

local M = {}

--- What s_client -brief and s_server -rev say of a connection.
---@class spec.Wire
---@field protocol? string
---@field cipher? string
---@field peer? string         subject of the other end's certificate
---@field hash? string         of its signature
---@field signature? string    its kind: "ECDSA", "RSA-PSS", "ed25519"
---@field tempKey? string      "X25519, 253 bits", "DH, 2048 bits"
---@field offered? string      a client's ciphers
---@field groups? string       a client's groups
---@field sigalgs? string      a client's signature algorithms
---@field alert? integer       what we sent (RFC 8446, 6)
---@field output string        everything

local function facts(output)
  return {
    output = output,
    protocol = output:match('Protocol version: ([^\n]+)'),
    cipher = output:match('Ciphersuite: ([^\n]+)'),
    peer = output:match('Peer certificate: ([^\n]+)'),
    hash = output:match('Hash used: ([^\n]+)'),
    signature = output:match('Signature type: ([^\n]+)'),
    tempKey = output:match('Server Temp Key: ([^\n]+)'),
    offered = output:match('Client cipher list: ([^\n]+)'),
    groups = output:match('Supported groups: ([^\n]+)'),
    sigalgs = output:match('Signature Algorithms: ([^\n]+)'),
    alert = tonumber(output:match('SSL alert number (%d+)')),
  }
end

--- Starts a server and forgets what goes wrong with its clients: what they see is what counts.
---@param options table  as for tls.createServer, nothing added
---@return tls.Server server
---@return integer port
function M.serve(await, options)
  local server = tls.createServer(options, function(socket)
    socket:on('error', function() end)
    socket:pipe(socket)
  end)
  return server, await(function(listening)
    server:listen(0, '127.0.0.1', function()
      listening(nil, server:address().port)
    end)
  end)
end

--- Connects `openssl s_client` once.
---@param argv string[]
---@return spec.Wire
function M.visit(await, port, argv)
  local all = { 'openssl', 's_client', '-connect', '127.0.0.1:' .. port, '-brief' }
  for _, argument in ipairs(argv) do
    all[#all + 1] = argument
  end
  local _, stdout, stderr = P.run(await, all, { input = '' })
  return facts(stdout .. stderr)
end

--- What s_client sees of a server with `options`.
---@return spec.Wire
function M.served(await, options, argv)
  local server, port = M.serve(await, options)
  local seen = M.visit(await, port, argv)
  P.close(await, server)
  return seen
end

--- What s_server sees of a client with `options`, and in `mine` what the client came to know: its protocol and cipher,
--- or its error.
---@return spec.Wire
function M.offered(await, files, options, argv)
  local all = { '-cert', files.server_cert, '-key', files.server_key, '-naccept', '1' }
  for _, argument in ipairs(argv) do
    all[#all + 1] = argument
  end
  local command, port = P.sServer(await, all)
  local socket = T.connect(port, options)
  local mine = {}
  await(function(closed)
    socket:on('secureConnect', function()
      mine.protocol, mine.cipher = socket:getProtocol(), socket:getCipher().name
      -- Under TLS 1.3 the server's word on our certificate comes later.
      socket:write('there and back\n')
    end)
    socket:once('data', function()
      socket:finish()
    end)
    socket:on('error', function(err)
      mine.error = err
    end)
    socket:on('close', function()
      closed()
    end)
  end)
  P.over(await, command) -- after one connection, having said what it saw
  local seen = facts(command.stdout .. command.stderr)
  seen.mine = mine
  return seen
end

--- Makes tests of a table of cases: { what it does, options (or a function that makes them), argv, expected facts }.
---@param it function  busted's
---@param look fun(await: function, files: table, options: table, argv: string[]): spec.Wire
function M.eachCase(it, cases, identities, look)
  for _, case in ipairs(cases) do
    it(case[1], P.test(identities, function(await, files)
      local options = case[2]
      if type(options) == 'function' then
        options = options(files)
      end
      local argv = case[3]
      if type(argv) == 'function' then
        argv = argv(files)
      end
      local seen = look(await, files, options, argv)
      for name, expected in pairs(case[4]) do
        local got = seen[name]
        assert.equal(expected or nil, got, ('%s\n%s'):format(name, seen.output))
      end
    end))
  end
end

return M
