--- The ClientHello as a script is shown it, and who is.
local parameters = require 'moonlatch.tls.parameters'

--- What a client said first. Lists are in the order in which things came, and nothing is left out: what has no name
--- reads "0x1234", and the values that clients send only to be ignored (RFC 8701) "GREASE(0x1a1a)".
---@class tls.ClientHello
---@field servername? string              the name asked for (SNI)
---@field alpnProtocols string[]          "h2", "http/1.1"
---@field versions string[]               "TLSv1.3"; of a client that lists none the one in legacyVersion
---@field legacyVersion string            the version field itself: "TLSv1.2" for clients of TLS 1.3, too
---@field ciphers string[]                as getCipher().name has them, "TLS_AES_128_GCM_SHA256"
---@field groups string[]                 "x25519", "secp256r1"
---@field keyShares string[]              the groups for which a key came along (TLS 1.3)
---@field signatureAlgorithms string[]    "ecdsa_secp256r1_sha256"
---@field extensions integer[]            their numbers
---@field compressionMethods integer[]    0 alone, mostly
---@field codes tls.ClientHelloCodes      the numbers behind the names
---@field random string                   32 bytes
---@field sessionId string                empty when there is none
---@field hasTicket boolean               a session ticket of TLS 1.2 came along
---@field pskIdentities string[]          of TLS 1.3, tickets among them
---@field requestOCSP boolean             a stapled OCSP response is wanted
---@field ja4 string                      the fingerprint, "t13d1516h2_8daaf6152771_e5627efa2ab1"
---@field raw string                      the message with its header

---@class tls.ClientHelloCodes
---@field versions integer[]
---@field ciphers integer[]
---@field groups integer[]
---@field keyShares integer[]
---@field signatureAlgorithms integer[]

---@class moonlatch.tls.hello
local M = {}

-- What has been found out about SNICallbacks, for as long as they live.
local takers = setmetatable({}, { __mode = 'k' })

--- Whether an SNICallback has a place for the hello, which is made for those alone.
---@param callback function
---@return boolean
function M.isTakenBy(callback)
  local taken = takers[callback]
  if taken == nil then
    local count, vararg = parameters(callback)
    taken = vararg or count >= 3
    takers[callback] = taken
  end
  return taken
end

return M
