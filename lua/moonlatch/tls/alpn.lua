--- What the script says about the protocol on top of TLS: ALPNProtocols, ALPNCallback and NPNProtocols.
local errors = require 'moonlatch.errors'
local bothForms = require 'moonlatch.tls.both_forms'
local given = require 'moonlatch.tls.given'
local protocols = require 'moonlatch.tls.protocols'
local questions = require 'moonlatch.tls.questions'

local codes = errors.codes
local ipairs, type = ipairs, type

local M = {}

--- Checks these options and copies them into `target`: `alpn` and `npn` in wire format, and on a server ALPNCallback.
---
--- Raises ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE and ERR_OUT_OF_RANGE for what is no list, and
--- ERR_TLS_ALPN_CALLBACK_WITH_PROTOCOLS when both ways to choose are given.
---@param options table
---@param target table
---@param isServer boolean
---@return table target
function M.read(options, target, isServer)
  if given(options.ALPNProtocols) then
    target.alpn = protocols.wire(options.ALPNProtocols, 'options.ALPNProtocols')
  end
  if given(options.NPNProtocols) then
    target.npn = protocols.wire(options.NPNProtocols, 'options.NPNProtocols')
  end
  if isServer and given(options.ALPNCallback) then
    target.ALPNCallback = errors.validate.func(options.ALPNCallback, 'options.ALPNCallback')
    if target.alpn then
      error(codes.ERR_TLS_ALPN_CALLBACK_WITH_PROTOCOLS(), 0)
    end
  end
  return target
end

-- The names in a list in wire format.
local function names(wire)
  local list, at = {}, 1
  while at <= #wire do
    local len = wire:byte(at)
    list[#list + 1] = wire:sub(at + 1, at + len)
    at = at + 1 + len
  end
  return list
end

local function contains(list, wanted)
  for _, name in ipairs(list) do
    if name == wanted then
      return true
    end
  end
  return false
end

--- Which of the client's protocols?
function questions.ask.alpn(socket, token, list)
  local offered = names(list)
  local answer = questions.answering(socket, token, function(chosen)
    if type(chosen) ~= 'string' or not contains(offered, chosen) then
      error(codes.ERR_TLS_ALPN_CALLBACK_INVALID_RESULT(chosen, offered), 0)
    end
    return chosen
  end)
  local offer = {
    servername = socket._handle:servername() or false,
    protocols = names(list), -- the script's own, to do with as it likes
  }
  -- What `this` is in Node is no part of what the client has said, and not to be found in a comparison with that.
  bothForms.call(socket._tls.ALPNCallback, answer, setmetatable(offer, { __index = { socket = socket } }))
end

return M
