local StringDecoder = require('string_decoder').StringDecoder
local encoding = require 'moonlatch.stream.encoding'

-- The pieces that come out when `bytes` goes in as chunks of `size`.
local function decode(name, bytes, size)
  local decoder, out = StringDecoder(name), {}
  for i = 1, #bytes, size do
    out[#out + 1] = decoder:write(bytes:sub(i, i + size - 1))
  end
  out[#out + 1] = decoder:finish()
  return table.concat(out), out
end

describe('StringDecoder', function()
  local text = 'aé€😀z\0ü'

  for _, name in ipairs { 'utf8', 'utf16le' } do
    for size = 1, 7 do
      it(('never splits a character: %s in chunks of %d'):format(name, size), function()
        local all, pieces = decode(name, encoding.decode(text, name), size)
        assert.equal(text, all)
        for _, piece in ipairs(pieces) do
          assert.equal(piece, encoding.toValidUtf8(piece))
        end
      end)
    end
  end

  for _, name in ipairs { 'hex', 'base64', 'base64url', 'latin1' } do
    for size = 1, 4 do
      it(('gives the same text however it is cut: %s in chunks of %d'):format(name, size), function()
        local bytes = '\0\1\2\250\251\252\253\254\255xyz'
        assert.equal(encoding.encode(bytes, name), (decode(name, bytes, size)))
      end)
    end
  end

  it('pads base64 only at the end', function()
    local decoder = StringDecoder('base64')
    assert.equal('', decoder:write('a'))
    assert.equal('YWJj', decoder:write('bc'))
    assert.equal('', decoder:write('d'))
    assert.equal('ZA==', decoder:finish())
  end)

  it('writes out U+FFFD for a character that never gets complete', function()
    local decoder = StringDecoder()
    assert.equal('a', decoder:write('a\226\130'))
    assert.equal('\239\191\189', decoder:finish())
    assert.equal('', decoder:finish())
  end)

  it('takes last bytes with finish, also under the key end', function()
    local decoder = StringDecoder('utf8')
    decoder:write('\226\130')
    assert.equal('€', decoder['end'](decoder, '\172'))
  end)

  it('replaces each ill-formed part of UTF-8 by U+FFFD', function()
    local r = '\239\191\189'
    assert.equal('a' .. r .. 'b' .. r .. r .. r .. 'c' .. r .. r .. r,
      StringDecoder():write('a\226\130b\255\192\128c\237\160\128'))
  end)

  it('clears the high bit for ascii', function()
    assert.equal('aA', StringDecoder('ascii'):write('a\193'))
  end)

  it('accepts Node\'s names in any case', function()
    for given, canonical in pairs { UTF8 = 'utf8', ['utf-8'] = 'utf8', Binary = 'latin1', ['UCS-2'] = 'utf16le',
      HEX = 'hex' } do
      assert.equal(canonical, StringDecoder(given).encoding)
    end
  end)

  it('refuses unknown encodings and what is no string', function()
    local _, err = pcall(StringDecoder, 'nope')
    assert.equal('TypeError [ERR_UNKNOWN_ENCODING]: Unknown encoding: nope', tostring(err))
    local decoder = StringDecoder()
    _, err = pcall(decoder.write, decoder, 5)
    assert.equal('ERR_INVALID_ARG_TYPE', err.code)
  end)
end)

describe('encodings', function()
  it('read hexadecimal up to the first pair that is none', function()
    assert.equal('\1\171', encoding.decode('01aBzz', 'hex'))
    assert.equal('\1', encoding.decode('01a', 'hex'))
  end)

  it('read base64 of both alphabets, with or without padding, spaces skipped', function()
    assert.equal('\251\255', encoding.decode('+/8=', 'base64'))
    assert.equal('\251\255', encoding.decode('-_8', 'base64'))
    assert.equal('abcd', encoding.decode('YW Jj\nZA==', 'base64'))
  end)

  it('write lone surrogates as U+FFFD', function()
    assert.equal('\239\191\189a', encoding.encode('\0\216a\0', 'utf16le'))
  end)
end)
