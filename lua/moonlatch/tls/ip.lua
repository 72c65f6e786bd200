--- IP addresses as text: which are addresses, and one spelling for all that mean the same.

local format, concat = string.format, table.concat
local floor, tonumber = math.floor, tonumber

local ip = {}

-- Four numbers of 0 to 255 without leading zeros, or nil.
local function parseIPv4(text)
  local bytes = { text:match('^(%d+)%.(%d+)%.(%d+)%.(%d+)$') }
  if #bytes ~= 4 then
    return nil
  end
  for i = 1, 4 do
    local digits = bytes[i]
    bytes[i] = tonumber(digits)
    if #digits > 3 or bytes[i] > 255 or #digits > 1 and digits:sub(1, 1) == '0' then
      return nil
    end
  end
  return bytes
end

-- The groups of one side of "::" appended to `words`; the last may be an IPv4 address where `tail` allows it.
local function addGroups(words, text, tail)
  if text == '' then
    return true
  end
  local groups = {}
  for group in (text .. ':'):gmatch('([^:]*):') do
    groups[#groups + 1] = group
  end
  for i, group in ipairs(groups) do
    local v4 = tail and i == #groups and parseIPv4(group)
    if v4 then
      words[#words + 1] = v4[1] * 256 + v4[2]
      words[#words + 1] = v4[3] * 256 + v4[4]
    elseif group:find('^%x%x?%x?%x?$') then
      words[#words + 1] = tonumber(group, 16)
    else
      return false
    end
  end
  return true
end

-- Eight numbers of 16 bits (RFC 4291, 2.2), or nil.
local function parseIPv6(text)
  local words, after = {}, {}
  local head, rest = text:match('^(.-)::(.*)$')
  if not head then
    return addGroups(words, text, true) and #words == 8 and words or nil
  end
  if rest:find('::', 1, true) or not addGroups(words, head, false) or not addGroups(after, rest, true) then
    return nil
  end
  local missing = 8 - #words - #after
  if missing < 1 then
    return nil
  end
  for _ = 1, missing do
    words[#words + 1] = 0
  end
  for _, word in ipairs(after) do
    words[#words + 1] = word
  end
  return words
end

--- 4, 6, or 0 for what is no IP address. An IPv6 address may have a zone ("fe80::1%eth0").
---@param text string
---@return integer
function ip.version(text)
  if parseIPv4(text) then
    return 4
  end
  local address, zone = text:match('^([^%%]*)%%(.*)$')
  if zone and not zone:find('^[%w.:-]+$') then
    return 0
  end
  return parseIPv6(address or text) and 6 or 0
end

-- Start and length of the first longest run of zeros, of two at least.
local function longestZeros(words)
  local best, bestLength, start = nil, 1, nil
  for i = 1, 9 do
    if words[i] == 0 then
      start = start or i
    elseif start then
      if i - start > bestLength then
        best, bestLength = start, i - start
      end
      start = nil
    end
  end
  return best, bestLength
end

local function join(words, from, to)
  local out = {}
  for i = from, to do
    out[#out + 1] = format('%x', words[i])
  end
  return concat(out, ':')
end

-- As inet_ntop(3) writes it: addresses that carry an IPv4 one end in dots.
local function formatIPv6(words)
  local start, length = longestZeros(words)
  if not start then
    return join(words, 1, 8)
  end
  if start == 1 and (length == 6 or length == 5 and words[6] == 0xffff) then
    local dotted = format('%d.%d.%d.%d', floor(words[7] / 256), words[7] % 256,
      floor(words[8] / 256), words[8] % 256)
    return (length == 6 and '::' or '::ffff:') .. dotted
  end
  return join(words, 1, start - 1) .. '::' .. join(words, start + length, 8)
end

--- The one spelling of an address; nil for what is none. A zone is left out.
---@param text string
---@return string?
function ip.canonical(text)
  local v4 = parseIPv4(text)
  if v4 then
    return concat(v4, '.')
  end
  local words = parseIPv6(text:match('^[^%%]*'))
  return words and formatIPv6(words) or nil
end

return ip
