--- Encodings of text, as streams, decoders and hashes take them. Text is a Lua string in UTF-8; latin1
--- (binary) and ascii text is a Lua string of bytes.

local byte, char, sub, gsub, find, format = string.byte, string.char, string.sub, string.gsub, string.find,
  string.format
local concat = table.concat
local floor = math.floor
local band, bor, lshift, rshift = bit.band, bit.bor, bit.lshift, bit.rshift

local encoding = {}

local NAMES = {
  utf8 = 'utf8', ['utf-8'] = 'utf8', hex = 'hex', base64 = 'base64', base64url = 'base64url',
  latin1 = 'latin1', binary = 'latin1', ascii = 'ascii',
  ucs2 = 'utf16le', ['ucs-2'] = 'utf16le', utf16le = 'utf16le', ['utf-16le'] = 'utf16le',
}

--- The canonical name of an encoding in whatever case; nil when there is none of that name.
---@param name any
---@return string?
function encoding.normalize(name)
  if type(name) ~= 'string' then
    return nil
  end
  return NAMES[name] or NAMES[name:lower()]
end

local HEX = {}
local UNHEX = {}
for value = 0, 255 do
  local digits = format('%02x', value)
  HEX[char(value)] = digits
  UNHEX[digits], UNHEX[digits:upper()] = char(value), char(value)
  UNHEX[digits:sub(1, 1):upper() .. digits:sub(2)] = char(value)
  UNHEX[digits:sub(1, 1) .. digits:sub(2):upper()] = char(value)
end

local function toHex(bytes)
  return (gsub(bytes, '.', HEX))
end

-- Bytes up to the first pair that is not hexadecimal, as Node reads it.
local function fromHex(text)
  local bad = find(text, '%X')
  if bad then
    text = sub(text, 1, bad - 1)
  end
  if #text % 2 == 1 then
    text = sub(text, 1, -2)
  end
  return (gsub(text, '..', UNHEX))
end

local STANDARD = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
local URL = STANDARD:sub(1, 62) .. '-_'

local function digitsOf(alphabet)
  local digits = {}
  for i = 0, 63 do
    digits[i] = alphabet:sub(i + 1, i + 1)
  end
  return digits
end

local STANDARD_DIGITS, URL_DIGITS = digitsOf(STANDARD), digitsOf(URL)
local VALUES = {}
for i = 1, 64 do
  VALUES[STANDARD:byte(i)] = i - 1
  VALUES[URL:byte(i)] = i - 1
end

local function toBase64(bytes, digits, padding)
  local out, n = {}, 0
  for i = 1, #bytes, 3 do
    local a, b, c = byte(bytes, i, i + 2)
    local word = a * 65536 + (b or 0) * 256 + (c or 0)
    out[n + 1] = digits[rshift(word, 18)]
    out[n + 2] = digits[band(rshift(word, 12), 63)]
    out[n + 3] = b and digits[band(rshift(word, 6), 63)] or padding
    out[n + 4] = c and digits[band(word, 63)] or padding
    n = n + 4
  end
  return concat(out)
end

-- Both alphabets, characters of neither skipped, up to the padding: what Node accepts.
local function fromBase64(text)
  local out, n = {}, 0
  local word, bits = 0, 0
  for i = 1, #text do
    local code = byte(text, i)
    if code == 61 then
      break
    end
    local value = VALUES[code]
    if value then
      word = band(bor(lshift(word, 6), value), 0xffffff)
      bits = bits + 6
      if bits >= 8 then
        bits = bits - 8
        n = n + 1
        out[n] = char(band(rshift(word, bits), 255))
      end
    end
  end
  return concat(out)
end

--- The UTF-8 bytes of a code point.
---@param code integer
---@return string
local function utf8Char(code)
  if code < 0x80 then
    return char(code)
  elseif code < 0x800 then
    return char(0xc0 + rshift(code, 6), 0x80 + band(code, 63))
  elseif code < 0x10000 then
    return char(0xe0 + rshift(code, 12), 0x80 + band(rshift(code, 6), 63), 0x80 + band(code, 63))
  end
  return char(0xf0 + rshift(code, 18), 0x80 + band(rshift(code, 12), 63), 0x80 + band(rshift(code, 6), 63),
    0x80 + band(code, 63))
end

local REPLACEMENT = '\239\191\189' -- U+FFFD

-- The range of the second byte is narrower after these leads: no overlong forms, no surrogates, nothing
-- past U+10FFFF.
local function secondRange(lead)
  if lead == 0xe0 then
    return 0xa0, 0xbf
  elseif lead == 0xed then
    return 0x80, 0x9f
  elseif lead == 0xf0 then
    return 0x90, 0xbf
  elseif lead == 0xf4 then
    return 0x80, 0x8f
  end
  return 0x80, 0xbf
end

local function sequenceLength(lead)
  if lead < 0x80 then
    return 1
  elseif lead >= 0xc2 and lead <= 0xdf then
    return 2
  elseif lead >= 0xe0 and lead <= 0xef then
    return 3
  elseif lead >= 0xf0 and lead <= 0xf4 then
    return 4
  end
  return 0
end

--- Looks at the UTF-8 sequence that starts at `at`: how many of its bytes are there and fit (at least 1),
--- and how many it needs (0 when no sequence starts with that byte).
---@return integer have
---@return integer need
local function sequenceAt(text, at)
  local lead = byte(text, at)
  local need = sequenceLength(lead)
  if need <= 1 then
    return 1, need
  end
  local low, high = secondRange(lead)
  for have = 1, need - 1 do
    local code = byte(text, at + have)
    if not code or code < low or code > high then
      return have, need
    end
    low, high = 0x80, 0xbf
  end
  return need, need
end

--- How many bytes at the end are the beginning of a character that is not complete.
---@param text string
---@return integer
function encoding.incomplete(text)
  local length = #text
  for back = 1, length < 3 and length or 3 do
    local code = byte(text, length - back + 1)
    if code < 0x80 then
      return 0
    elseif code >= 0xc0 then
      local have, need = sequenceAt(text, length - back + 1)
      return have == back and need > have and back or 0
    end
  end
  return 0
end

-- Where the first ill-formed sequence starts, or nil.
local function firstInvalid(text, at)
  local length = #text
  while at <= length do
    if byte(text, at) < 0x80 then
      at = at + 1
    else
      local have, need = sequenceAt(text, at)
      if have ~= need then
        return at, have
      end
      at = at + have
    end
  end
  return nil
end

--- Valid UTF-8: every ill-formed part becomes U+FFFD.
---@param text string
---@return string
function encoding.toValidUtf8(text)
  if not find(text, '[\128-\255]') then
    return text
  end
  local start, at, length = 1, firstInvalid(text, 1)
  if not at then
    return text
  end
  local parts = {}
  while at do
    parts[#parts + 1] = sub(text, start, at - 1)
    parts[#parts + 1] = REPLACEMENT
    start = at + length
    at, length = firstInvalid(text, start)
  end
  parts[#parts + 1] = sub(text, start)
  return concat(parts)
end

local function codeAt(text, at)
  local have, need = sequenceAt(text, at)
  if have ~= need then
    return 0xfffd, have
  end
  local a, b, c, d = byte(text, at, at + need - 1)
  if need == 1 then
    return a, 1
  elseif need == 2 then
    return band(a, 31) * 64 + band(b, 63), 2
  elseif need == 3 then
    return band(a, 15) * 4096 + band(b, 63) * 64 + band(c, 63), 3
  end
  return band(a, 7) * 262144 + band(b, 63) * 4096 + band(c, 63) * 64 + band(d, 63), 4
end

local function toUtf16(text)
  local out, at = {}, 1
  while at <= #text do
    local code, length = codeAt(text, at)
    at = at + length
    if code >= 0x10000 then
      code = code - 0x10000
      local high, low = 0xd800 + rshift(code, 10), 0xdc00 + band(code, 1023)
      out[#out + 1] = char(high % 256, floor(high / 256), low % 256, floor(low / 256))
    else
      out[#out + 1] = char(code % 256, floor(code / 256))
    end
  end
  return concat(out)
end

local function fromUtf16(bytes)
  local out, at, last = {}, 1, #bytes - 1
  while at <= last do
    local low, high = byte(bytes, at, at + 1)
    local code = high * 256 + low
    at = at + 2
    if code >= 0xd800 and code < 0xdc00 and at <= last then
      local low2, high2 = byte(bytes, at, at + 1)
      local second = high2 * 256 + low2
      if second >= 0xdc00 and second < 0xe000 then
        code = 0x10000 + (code - 0xd800) * 1024 + second - 0xdc00
        at = at + 2
      end
    end
    out[#out + 1] = code >= 0xd800 and code < 0xe000 and REPLACEMENT or utf8Char(code)
  end
  return concat(out)
end

local function same(text)
  return text
end

-- Text to bytes and bytes to text, by canonical name.
local toBytes = {
  utf8 = same, latin1 = same, ascii = same, hex = fromHex, base64 = fromBase64, base64url = fromBase64,
  utf16le = toUtf16,
}
local toText = {
  utf8 = encoding.toValidUtf8,
  latin1 = same,
  ascii = function(bytes)
    return (gsub(bytes, '[\128-\255]', function(high)
      return char(byte(high) - 128)
    end))
  end,
  hex = toHex,
  base64 = function(bytes)
    return toBase64(bytes, STANDARD_DIGITS, '=')
  end,
  base64url = function(bytes)
    return toBase64(bytes, URL_DIGITS, '')
  end,
  utf16le = fromUtf16,
}

--- The bytes that `text` stands for.
---@param text string
---@param name string  an encoding's canonical name
---@return string
function encoding.decode(text, name)
  return toBytes[name](text)
end

--- The text that stands for `bytes`.
---@param bytes string
---@param name string  an encoding's canonical name
---@return string
function encoding.encode(bytes, name)
  return toText[name](bytes)
end

return encoding
