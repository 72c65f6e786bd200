--- What went over a connection as a capture file (pcap), as if it had been caught on the way: for tools that read such
--- files, without the privileges that catching takes.
local fs = require 'fs'
local H = require 'spec.support.hostile'

local floor, char = math.floor, string.char

local M = {}

local MAGIC, MAJOR, MINOR, SNAPLEN = 0xa1b2c3d4, 2, 4, 65535
local LINKTYPE_RAW = 101 -- packets begin with their IP header
local SEGMENT = 16000
local SYN, ACK, PSH = 2, 16, 8

local function little(value, bytes)
  local result = {}
  for i = 1, bytes do
    result[i] = char(value % 256)
    value = floor(value / 256)
  end
  return table.concat(result)
end

local function big(value, bytes)
  return little(value, bytes):reverse()
end

-- An IPv4 packet with one TCP segment (RFC 791, RFC 9293); checksums are left out, as network cards do.
local function packet(from, to, flags, data)
  local tcp = big(from.port, 2) .. big(to.port, 2) .. big(from.sent, 4) .. big(to.sent, 4)
    .. char(0x50, flags) .. big(65535, 2) .. big(0, 4)
  local ip = char(0x45, 0) .. big(40 + #data, 2) .. big(0, 4) .. char(64, 6) .. big(0, 2) .. from.address .. to.address
  return ip .. tcp .. data
end

---@class spec.Capture
---@field records string[]
local Capture = {}
Capture.__index = Capture

function Capture:add(from, to, flags, data)
  local bytes = packet(from, to, flags, data)
  local number = #self.records -- a second after the other
  self.records[number + 1] = little(number, 4) .. little(0, 4) .. little(#bytes, 4) .. little(#bytes, 4) .. bytes
  from.sent = from.sent + #data + (flags % (2 * SYN) >= SYN and 1 or 0)
end

function Capture:send(from, to, data)
  for at = 1, #data, SEGMENT do
    self:add(from, to, ACK + PSH, data:sub(at, at + SEGMENT - 1))
  end
end

--- Writes the file.
---@param path string
function Capture:write(path)
  fs.writeFileSync(path, little(MAGIC, 4) .. little(MAJOR, 2) .. little(MINOR, 2) .. little(0, 8) .. little(SNAPLEN, 4)
    .. little(LINKTYPE_RAW, 4) .. table.concat(self.records))
end

--- A man in the middle in front of `port` who writes down what passes. In the file the server's port is 443.
---@return net.Server proxy
---@return integer port
---@return spec.Capture capture
function M.proxy(await, port)
  local capture = setmetatable({ records = {} }, Capture)
  local proxy, between = H.proxy(await, port, function(downstream, upstream)
    local client = { address = char(192, 0, 2, 1), port = 50000, sent = 0 }
    local server = { address = char(192, 0, 2, 2), port = 443, sent = 0 }
    capture:add(client, server, SYN, '')
    capture:add(server, client, SYN + ACK, '')
    capture:add(client, server, ACK, '')
    downstream:on('data', function(chunk)
      capture:send(client, server, chunk)
    end)
    upstream:on('data', function(chunk)
      capture:send(server, client, chunk)
    end)
  end)
  return proxy, between, capture
end

return M
