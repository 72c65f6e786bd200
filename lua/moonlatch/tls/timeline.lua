--- The handshake's phases as scripts see them: socket:handshakeTimeline().

local timeline = {}

---@class tls.HandshakePhase
---@field name string     a handshake message, or what the script was asked by
---@field waiting 'network'|'script'|'crypto'
---@field at number       its beginning, in milliseconds since that of the handshake
---@field ms number       how long it took, so far

---@class tls.HandshakeTimeline
---@field total number    milliseconds
---@field network number  of these: until messages of the peer had come
---@field script number   until callbacks and listeners had answered
---@field crypto number   reading, judging and writing messages
---@field over boolean    whether the handshake is
---@field phases tls.HandshakePhase[]

-- What asks the script, by the question's name.
local CALLBACKS = {
  session = 'resumeSession',
  alpn = 'ALPNCallback',
  psk = 'pskCallback',
  staple = 'OCSPRequest',
  identity = 'checkServerIdentity',
  store = 'newSession',
}

local function name(socket, phase)
  if phase.waiting ~= 'script' then
    return phase.name
  elseif phase.name == 'context' then
    return socket._tls.SNICallback and 'SNICallback' or 'clientHello'
  end
  return CALLBACKS[phase.name] or phase.name
end

---@param socket tls.TLSSocket
---@param phases table[]  of the native side
---@param over boolean
---@return tls.HandshakeTimeline
function timeline.summary(socket, phases, over)
  local result = { total = 0, network = 0, script = 0, crypto = 0, over = over, phases = phases }
  for _, phase in ipairs(phases) do
    phase.name = name(socket, phase)
    result.total = phase.at + phase.ms
    result[phase.waiting] = result[phase.waiting] + phase.ms
  end
  return result
end

return timeline
