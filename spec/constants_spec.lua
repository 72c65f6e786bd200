local constants = require 'constants'
local crypto = require 'crypto'
local spec = require 'moonlatch.spec'

describe('constants', function()
  it('hold errno values, signals and flags of open', function()
    assert.equal(2, constants.ENOENT)
    assert.equal(111, constants.ECONNREFUSED)
    assert.equal(constants.EAGAIN, constants.EWOULDBLOCK)
    assert.equal(9, constants.SIGKILL)
    assert.equal(15, constants.SIGTERM)
    assert.equal(0, constants.O_RDONLY)
    assert.equal(4, constants.R_OK)
  end)

  it("hold OpenSSL's options", function()
    assert.equal(2 ^ 14, constants.SSL_OP_NO_TICKET)
    assert.equal(2 ^ 31, constants.SSL_OP_CRYPTOPRO_TLSEXT_BUG)
    assert.equal(0x303, constants.TLS1_2_VERSION)
    assert.equal(0x304, constants.TLS1_3_VERSION)
  end)

  it('are those of crypto, too', function()
    for name, value in pairs(crypto.constants) do
      assert.equal(value, constants[name], name)
    end
    assert.is_nil(crypto.constants.ENOENT)
    assert.equal(require('tls').DEFAULT_CIPHERS, crypto.constants.defaultCoreCipherList)
  end)

  -- Every SSL_OP_ of ssl.h that stands for a bit must be here, in whatever version we are built with.
  it('hold every SSL_OP_ of the header they were built with', function()
    local header = assert(io.open('/usr/include/openssl/ssl.h'))
    local count = 0
    for line in header:lines() do
      local name = line:match('^%s*#%s*define%s+(SSL_OP_[%w_]+)%s')
      if name then
        assert.is_number(constants[name], name)
        count = count + 1
      end
    end
    header:close()
    assert.is_true(count > 40)
  end)

  it("have Node's values", spec.async(function(_, expect)
    local script = [[const c = require('constants');
      for (const k in c) if (typeof c[k] === 'number') console.log(k, c[k]);]]
    spec.command({ 'node', '-e', script }, expect(function(status, out, err)
      assert.equal(0, status, err)
      local count = 0
      for name, value in out:gmatch('(%S+) (%S+)\n') do
        local ours = constants[name]
        if ours and name ~= 'OPENSSL_VERSION_NUMBER' then
          assert.equal(tonumber(value), ours, name)
          count = count + 1
        elseif name:find('^SSL_OP') or name:find('^E%u+$') or name:find('^SIG') or name:find('^RSA_') then
          assert.is_number(ours, name)
        end
      end
      assert.is_true(count > 150)
    end))
  end))
end)
