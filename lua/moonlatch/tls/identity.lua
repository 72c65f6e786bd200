--- Does a certificate belong to the host that was asked for? RFC 6125 and RFC 9525, with the choices that
--- Node made.

local errors = require 'moonlatch.errors'
local ip = require 'moonlatch.tls.ip'

local char, floor = string.char, math.floor
local concat = table.concat
local type, tostring, ipairs = type, tostring, ipairs

local identity = {}

local function withoutDot(name)
  return (name:gsub('%.$', ''))
end

-- The labels of a name in lower case, one trailing dot ignored; ASCII only, whatever the locale.
local function labelsOf(name)
  local labels = {}
  local text = withoutDot(name):gsub('%u', string.lower)
  for label in (text .. '.'):gmatch('([^.]*)%.') do
    labels[#labels + 1] = label
  end
  return labels
end

-- A label that is empty or holds anything but visible ASCII (blanks, controls, an internationalised name that
-- was not encoded) matches nothing.
local function isBadLabel(label)
  return label == '' or label:find('[^\33-\127]') ~= nil
end

-- The left-most label: one "*" may stand for any part of it, unless the label is an encoded international one
-- (RFC 6125, 6.4.3) or only a top level follows.
local function matchesFirst(host, pattern, count)
  local prefix, suffix = pattern:match('^([^*]*)%*([^*]*)$')
  if not pattern:find('*', 1, true) or pattern:find('xn--', 1, true) then
    return host == pattern
  elseif not prefix or count <= 2 then
    return false
  end
  return #prefix + #suffix <= #host and host:sub(1, #prefix) == prefix and
    host:sub(#host - #suffix + 1) == suffix
end

local function matches(host, name)
  if type(name) ~= 'string' or name == '' then
    return false
  end
  local pattern = labelsOf(name)
  if #host ~= #pattern then
    return false
  end
  for i, label in ipairs(pattern) do
    if isBadLabel(label) or i > 1 and label ~= host[i] then
      return false
    end
  end
  return matchesFirst(host[1], pattern[1], #pattern)
end

local function anyMatches(host, names)
  for _, name in ipairs(names) do
    if matches(host, name) then
      return true
    end
  end
  return false
end

-- Quoted names. What stands between the quotes is a JSON string (RFC 8259, 7); see CVE-2021-44532 for why it
-- is.

local SHORT_ESCAPES = {
  ['"'] = '"', ['\\'] = '\\', ['/'] = '/', b = '\b', f = '\f', n = '\n', r = '\r', t = '\t',
}

local function utf8(code)
  if code < 0x80 then
    return char(code)
  elseif code < 0x800 then
    return char(0xc0 + floor(code / 0x40), 0x80 + code % 0x40)
  elseif code < 0x10000 then
    return char(0xe0 + floor(code / 0x1000), 0x80 + floor(code / 0x40) % 0x40, 0x80 + code % 0x40)
  end
  return char(0xf0 + floor(code / 0x40000), 0x80 + floor(code / 0x1000) % 0x40, 0x80 + floor(code / 0x40) % 0x40,
    0x80 + code % 0x40)
end

-- One escape sequence at `at`, where the backslash is: its text and where it ends; nil when it is none. Two
-- escapes that are halves of one character (RFC 8259, 7) count as one.
local function unescape(text, at)
  local short = SHORT_ESCAPES[text:sub(at + 1, at + 1)]
  if short then
    return short, at + 2
  end
  local hex = text:match('^\\u(%x%x%x%x)', at)
  if not hex then
    return nil
  end
  local code = tonumber(hex, 16)
  local low = code >= 0xd800 and code < 0xdc00 and text:match('^\\u([dD][c-fC-F]%x%x)', at + 6)
  if low then
    return utf8(0x10000 + (code - 0xd800) * 0x400 + tonumber(low, 16) - 0xdc00), at + 12
  end
  return utf8(code), at + 6
end

-- The JSON string whose opening quote is at `at`: its value and where the rest begins; nil when it is none.
local function readQuoted(text, at)
  local parts = {}
  at = at + 1
  while true do
    local plain, stop = text:match('^([^"\\%z\1-\31]*)()', at)
    parts[#parts + 1] = plain
    local mark = text:sub(stop, stop)
    if mark == '"' then
      return concat(parts), stop + 1
    elseif mark ~= '\\' then
      return nil
    end
    parts[#parts + 1], at = unescape(text, stop)
    if not at then
      return nil
    end
  end
end

-- Splits at ", ", where there are quotes only outside of them.
local function splitQuoted(text)
  local names, token, at = {}, '', 1
  while at <= #text do
    local comma = text:find(',', at, true)
    local quote = text:find('"', at, true)
    if quote and (not comma or quote < comma) then
      local value, rest = readQuoted(text, quote)
      if not value then
        error(errors.codes.ERR_TLS_CERT_ALTNAME_FORMAT(), 0)
      end
      token, at = token .. text:sub(at, quote - 1) .. value, rest
    elseif comma then
      names[#names + 1] = token .. text:sub(at, comma - 1)
      token, at = '', comma + 2
    else
      token, at = token .. text:sub(at), #text + 1
    end
  end
  names[#names + 1] = token
  return names
end

local function splitPlain(text)
  local names, at = {}, 1
  while true do
    local stop = text:find(', ', at, true)
    names[#names + 1] = text:sub(at, stop and stop - 1 or #text)
    if not stop then
      return names
    end
    at = stop + 2
  end
end

-- DNS names and addresses (canonical; false for one that is none) of a subjectaltname string.
local function readAltNames(text)
  local dns, addresses = {}, {}
  if type(text) ~= 'string' or text == '' then
    return dns, addresses
  end
  for _, name in ipairs(text:find('"', 1, true) and splitQuoted(text) or splitPlain(text)) do
    if name:sub(1, 4) == 'DNS:' then
      dns[#dns + 1] = name:sub(5)
    elseif name:sub(1, 11) == 'IP Address:' then
      addresses[#addresses + 1] = ip.canonical(name:sub(12)) or false
    end
  end
  return dns, addresses
end

local function checkAddress(hostname, addresses)
  local wanted, shown = ip.canonical(hostname), {}
  for i, address in ipairs(addresses) do
    if address == wanted then
      return nil
    end
    shown[i] = address or ''
  end
  return ("IP: %s is not in the cert's list: %s"):format(hostname, concat(shown, ', '))
end

-- The common name counts only when the certificate has no DNS name.
local function checkName(hostname, dns, altNames, commonName)
  local host = labelsOf(hostname)
  if #dns > 0 then
    if not anyMatches(host, dns) then
      return ("Host: %s. is not in the cert's altnames: %s"):format(hostname, altNames)
    end
    return nil
  end
  local names = type(commonName) == 'table' and commonName or { commonName }
  if not anyMatches(host, names) then
    return ("Host: %s. is not cert's CN: %s"):format(hostname, concat(names, ','))
  end
  return nil
end

local function commonNameOf(cert)
  local name = type(cert.subject) == 'table' and cert.subject.CN or nil
  return name ~= '' and name or nil
end

--- Checks that `cert`, as getPeerCertificate() gives it, was issued for `hostname` (a name or an IP address).
--- Only after the chain has been verified does the answer mean anything.
---@param hostname string
---@param cert table
---@return Error?  ERR_TLS_CERT_ALTNAME_INVALID with reason, host and cert; nil when it belongs to the host
---@error ERR_TLS_CERT_ALTNAME_FORMAT when cert.subjectaltname is no list that this library or Node makes
---@source Node.js tls.checkServerIdentity(), RFC 6125, RFC 9525
function identity.checkServerIdentity(hostname, cert)
  errors.validate.table(cert, 'cert')
  hostname = withoutDot(tostring(hostname))
  local dns, addresses = readAltNames(cert.subjectaltname)
  local commonName = commonNameOf(cert)
  local reason
  if ip.version(hostname) ~= 0 then
    reason = checkAddress(hostname, addresses)
  elseif #dns > 0 or commonName then
    reason = checkName(hostname, dns, cert.subjectaltname, commonName)
  else
    reason = 'Cert does not contain a DNS name'
  end
  return reason and errors.codes.ERR_TLS_CERT_ALTNAME_INVALID(reason, hostname, cert) or nil
end

return identity
