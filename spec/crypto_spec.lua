local crypto = require 'crypto'
local spec = require 'moonlatch.spec'
local util = require 'util'

-- The Error that `fn` raises.
local function raised(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  return err
end

local function code(fn, ...)
  return raised(fn, ...).code
end

describe('createHash', function()
  -- FIPS 180-4 and 202, examples; RFC 1321, A.5.
  local digests = {
    { 'md5', 'abc', '900150983cd24fb0d6963f7d28e17f72' },
    { 'sha1', 'abc', 'a9993e364706816aba3e25717850c26c9cd0d89d' },
    { 'sha256', 'abc', 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad' },
    { 'SHA256', 'abc', 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad' },
    { 'RSA-SHA256', 'abc', 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad' },
    { 'sha256', '', 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855' },
    { 'sha3-256', 'abc', '3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532' },
    { 'shake128', '', '7f9c2ba4e88f827d616045507605853e' },
  }
  for _, case in ipairs(digests) do
    it(('digests %q with %s'):format(case[2], case[1]), function()
      assert.equal(case[3], crypto.createHash(case[1]):update(case[2]):digest('hex'))
    end)
  end

  it('takes its data in pieces', function()
    local whole = crypto.createHash('sha256'):update('hello world'):digest()
    assert.equal(whole, crypto.createHash('sha256'):update('hello'):update(' '):update('world'):digest())
    assert.equal(32, #whole)
  end)

  it('reads and writes encodings', function()
    local hash = crypto.createHash('sha1'):update('616263', 'hex')
    assert.equal('qZk+NkcGgWq6PiVxeFDCbJzQ2J0=', hash:copy():digest('base64'))
    assert.equal('qZk-NkcGgWq6PiVxeFDCbJzQ2J0', hash:copy():digest('base64url'))
    assert.equal(20, #hash:copy():digest('buffer'))
    assert.equal(20, #hash:digest('no such encoding'))
    assert.equal('ERR_INVALID_ARG_VALUE', code(function()
      crypto.createHash('sha1'):update('123', 'hex')
    end))
  end)

  it('gives as many bytes of an extendable function as are wanted', function()
    assert.equal('7f9c2ba4e8', crypto.createHash('shake128', { outputLength = 5 }):digest('hex'))
    assert.equal('', crypto.createHash('shake128', { outputLength = 0 }):digest('hex'))
    assert.equal(300, #crypto.createHash('shake256', { outputLength = 300 }):digest())
    assert.equal(32, #crypto.createHash('sha256', { outputLength = 32 }):digest())
    local err = raised(crypto.createHash, 'sha256', { outputLength = 5 })
    assert.equal('ERR_OSSL_EVP_NOT_XOF_OR_INVALID_LENGTH', err.code)
    assert.equal('digital envelope routines', err.library)
    assert.equal('ERR_OUT_OF_RANGE', code(crypto.createHash, 'shake128', { outputLength = -1 }))
    assert.equal('ERR_INVALID_ARG_TYPE', code(crypto.createHash, 'shake128', { outputLength = 'x' }))
    assert.equal('ERR_INVALID_ARG_TYPE', code(crypto.createHash, 'shake128', 5))
  end)

  it('goes on in two ways after a copy', function()
    local hash = crypto.createHash('sha256'):update('a')
    local copy = hash:copy()
    assert.equal(crypto.hash('sha256', 'ab'), hash:update('b'):digest('hex'))
    assert.equal(crypto.hash('sha256', 'ac'), copy:update('c'):digest('hex'))
    local xof = crypto.createHash('shake128')
    assert.equal(7, #xof:copy({ outputLength = 7 }):digest())
    assert.equal('ERR_OSSL_EVP_NOT_XOF_OR_INVALID_LENGTH', code(function()
      crypto.createHash('md5'):copy { outputLength = 3 }
    end))
  end)

  it('is of no use after the digest', function()
    local hash = crypto.createHash('sha1')
    hash:digest()
    for _, method in ipairs { 'digest', 'update', 'copy' } do
      local err = raised(hash[method], hash, 'x')
      assert.equal('ERR_CRYPTO_HASH_FINALIZED', err.code)
      assert.equal('Digest already called', err.message)
    end
  end)

  it('refuses what is no algorithm and no data', function()
    assert.equal('Digest method not supported', raised(crypto.createHash, 'nonsense').message)
    assert.equal('ERR_OSSL_EVP_UNSUPPORTED', code(crypto.createHash, 'md4'))
    assert.equal('The "algorithm" argument must be of type string. Received nil', raised(crypto.createHash).message)
    assert.equal('The "data" argument must be of type string. Received type number (5)', raised(function()
      crypto.createHash('sha1'):update(5)
    end).message)
  end)

  it('is a stream', spec.async(function(_, expect)
    local hash = crypto.createHash('sha256')
    hash:on('data', expect(function(digest)
      assert.equal(crypto.hash('sha256', 'hello world', 'buffer'), digest)
    end))
    hash:write('hello ')
    hash:finish('world')
  end))

  it('fails what is written to it as a stream after digest', spec.async(function(_, expect)
    for _, hash in ipairs { crypto.createHash('sha256'), crypto.createHmac('sha256', 'key') } do
      hash:digest()
      hash:on('error', expect(function(err)
        assert.equal('ERR_CRYPTO_HASH_FINALIZED', err.code)
      end))
      hash:write('more')
    end
  end))

  it('is an instance of its class', function()
    assert.is_true(util.isInstance(crypto.createHash('md5'), crypto.Hash))
    assert.is_true(util.isInstance(crypto.createHmac('md5', ''), crypto.Hmac))
  end)

  it('is there in one call', function()
    assert.equal('a9993e364706816aba3e25717850c26c9cd0d89d', crypto.hash('sha1', 'abc'))
    assert.equal(20, #crypto.hash('sha1', 'abc', 'buffer'))
    assert.equal('ERR_INVALID_ARG_TYPE', code(crypto.hash, 'sha1'))
  end)
end)

describe('createHmac', function()
  it('signs as RFC 4231 says', function()
    local hmac = crypto.createHmac('sha256', 'Jefe'):update('what do ya want '):update('for nothing?')
    assert.equal('5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843', hmac:digest('hex'))
    assert.equal('', hmac:digest('hex'))
    assert.equal('ERR_CRYPTO_HASH_FINALIZED', code(hmac.update, hmac, 'x'))
  end)

  it('takes an empty key and an empty text', function()
    assert.equal('b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad',
      crypto.createHmac('sha256', ''):digest('hex'))
  end)

  it('takes a key object', function()
    local key = crypto.createSecretKey('Jefe')
    assert.equal('secret', key.type)
    assert.equal(4, key.symmetricKeySize)
    assert.equal(crypto.createHmac('md5', 'Jefe'):digest(), crypto.createHmac('md5', key):digest())
  end)

  it('refuses what is no algorithm and no key', function()
    local err = raised(crypto.createHmac, 'nonsense', 'k')
    assert.equal('ERR_CRYPTO_INVALID_DIGEST', err.code)
    assert.equal('Invalid digest: nonsense', err.message)
    assert.equal('ERR_INVALID_ARG_TYPE', code(crypto.createHmac, 'sha1'))
    assert.equal('ERR_INVALID_ARG_TYPE', code(crypto.createHmac, 'sha1', 5))
    local public = crypto.createPublicKey(spec.selfSigned().cert)
    assert.equal('ERR_CRYPTO_INVALID_KEY_OBJECT_TYPE', code(crypto.createHmac, 'sha1', public))
  end)
end)

describe('randomness', function()
  it('comes in bytes', function()
    assert.equal(16, #crypto.randomBytes(16))
    assert.equal('', crypto.randomBytes(0))
    assert.equal(1, #crypto.randomBytes(1.5))
    assert.are_not.equal(crypto.randomBytes(16), crypto.randomBytes(16))
    assert.equal('The value of "size" is out of range. It must be >= 0 && <= 2147483647. Received -1',
      raised(crypto.randomBytes, -1).message)
    assert.equal('ERR_INVALID_ARG_TYPE', code(crypto.randomBytes, 'x'))
    assert.equal('ERR_INVALID_ARG_TYPE', code(crypto.randomBytes, 1, 'x'))
  end)

  it('comes later when there is a callback', spec.async(function(_, expect)
    local later = false
    crypto.randomBytes(4, expect(function(err, bytes)
      assert.is_nil(err)
      assert.equal(4, #bytes)
      assert.is_true(later)
    end))
    crypto.randomInt(3, expect(function(err, n)
      assert.is_nil(err)
      assert.is_true(n >= 0 and n < 3)
    end))
    later = true
  end))

  it('comes in integers, each equally likely', function()
    local seen = { 0, 0, 0 }
    for _ = 1, 3000 do
      local n = crypto.randomInt(3)
      seen[n + 1] = seen[n + 1] + 1
    end
    for _, count in ipairs(seen) do
      assert.is_true(count > 800 and count < 1200)
    end
    for _ = 1, 100 do
      local n = crypto.randomInt(-5, -3)
      assert.is_true(n == -5 or n == -4)
    end
    assert.is_true(crypto.randomInt(2 ^ 48 - 1) >= 0)
  end)

  it('refuses impossible ranges', function()
    assert.equal('The value of "max" is out of range. It must be greater than the value of "min" (0). Received 0',
      raised(crypto.randomInt, 0).message)
    assert.equal('ERR_OUT_OF_RANGE', code(crypto.randomInt, 5, 5))
    assert.equal('ERR_OUT_OF_RANGE', code(crypto.randomInt, 0, 2 ^ 48))
    assert.equal('ERR_OUT_OF_RANGE', code(crypto.randomInt, 2 ^ 48))
    assert.equal('The "max" argument must be a safe integer. Received type number (1.5)',
      raised(crypto.randomInt, 1.5).message)
    assert.equal('ERR_INVALID_ARG_TYPE', code(crypto.randomInt, 'a', 5))
    assert.equal('ERR_INVALID_ARG_TYPE', code(crypto.randomInt, 1, 2, 3))
    assert.equal('ERR_INVALID_ARG_TYPE', code(crypto.randomInt))
  end)

  it('comes in UUIDs of version 4', function()
    local uuid = crypto.randomUUID()
    local x = '%x%x%x%x'
    assert.truthy(uuid:match('^' .. x .. x .. '%-' .. x .. '%-4%x%x%x%-[89ab]%x%x%x%-' .. x .. x .. x .. '$'))
    assert.are_not.equal(uuid, crypto.randomUUID { disableEntropyCache = true })
    assert.equal('ERR_INVALID_ARG_TYPE', code(crypto.randomUUID, { disableEntropyCache = 1 }))
  end)
end)

describe('timingSafeEqual', function()
  it('compares', function()
    assert.is_true(crypto.timingSafeEqual('abc', 'abc'))
    assert.is_false(crypto.timingSafeEqual('abc', 'abd'))
    assert.is_true(crypto.timingSafeEqual('', ''))
    assert.is_false(crypto.timingSafeEqual('a\0b', 'a\0c'))
  end)

  it('wants two strings of one length', function()
    local err = raised(crypto.timingSafeEqual, 'a', 'bc')
    assert.equal('ERR_CRYPTO_TIMING_SAFE_EQUAL_LENGTH', err.code)
    assert.is_true(util.isInstance(err, RangeError))
    assert.equal('ERR_INVALID_ARG_TYPE', code(crypto.timingSafeEqual, 1, 'a'))
    assert.equal('ERR_INVALID_ARG_TYPE', code(crypto.timingSafeEqual, 'a'))
  end)
end)

describe('the lists of algorithms', function()
  local function has(list, name)
    for _, each in ipairs(list) do
      if each == name then
        return true
      end
    end
    return false
  end

  it('are sorted copies without doubles', function()
    for _, name in ipairs { 'getHashes', 'getCiphers', 'getCurves' } do
      local list = crypto[name]()
      assert.is_true(#list > 10)
      for i = 2, #list do
        assert.is_true(list[i - 1] < list[i], list[i])
      end
      list[1] = 'changed'
      assert.are_not.equal('changed', crypto[name]()[1])
    end
  end)

  it('hold what everybody uses', function()
    assert.is_true(has(crypto.getHashes(), 'sha256'))
    assert.is_true(has(crypto.getHashes(), 'RSA-SHA256'))
    assert.is_true(has(crypto.getCiphers(), 'aes-256-gcm'))
    assert.is_true(has(crypto.getCurves(), 'prime256v1'))
  end)

  it('hold what can be had only', function()
    for _, name in ipairs(crypto.getHashes()) do
      assert.truthy(crypto.createHash(name))
    end
    assert.is_false(has(crypto.getHashes(), 'md4'))
  end)
end)

describe('keys', function()
  local identity = spec.selfSigned { key = 'rsa' }

  it('are read from PEM and DER, private and public', function()
    local private = crypto.createPrivateKey(identity.key)
    assert.equal('private', private.type)
    assert.equal('rsa', private.asymmetricKeyType)
    assert.same({ modulusLength = 2048, publicExponent = 65537 }, private.asymmetricKeyDetails)
    local public = crypto.createPublicKey(identity.cert)
    assert.equal('public', public.type)
    for _, source in ipairs { identity.key, private, { key = identity.key },
      public:export { type = 'spki', format = 'pem' }, public:export { type = 'spki', format = 'der' },
      public:export { type = 'pkcs1', format = 'pem' }, private:export { type = 'pkcs1', format = 'der' } } do
      assert.is_true(public:equals(crypto.createPublicKey(source)))
    end
    assert.is_false(public:equals(private))
    assert.is_false(public:equals(crypto.createPublicKey(spec.selfSigned().cert)))
    assert.is_true(private:equals(crypto.createPrivateKey(private:export { type = 'pkcs8', format = 'der' })))
  end)

  it('are encrypted when there is a passphrase', function()
    local private = crypto.createPrivateKey(identity.key)
    local pem = private:export { type = 'pkcs8', format = 'pem', passphrase = 'secret' }
    assert.truthy(pem:find('-----BEGIN ENCRYPTED PRIVATE KEY-----', 1, true))
    assert.is_true(private:equals(crypto.createPrivateKey { key = pem, passphrase = 'secret' }))
    assert.equal('ERR_OSSL_BAD_DECRYPT', code(crypto.createPrivateKey, { key = pem, passphrase = 'wrong' }))
    assert.truthy(raised(crypto.createPrivateKey, pem))
    local own = private:export { type = 'pkcs1', format = 'pem', passphrase = 'secret' }
    assert.is_true(private:equals(crypto.createPrivateKey { key = own, passphrase = 'secret' }))
  end)

  it('have forms of their own', function()
    local ec = crypto.createPrivateKey(spec.selfSigned { key = 'ec' }.key)
    assert.same({ namedCurve = 'prime256v1' }, ec.asymmetricKeyDetails)
    assert.truthy(ec:export { type = 'sec1', format = 'pem' }:find('BEGIN EC PRIVATE KEY', 1, true))
    assert.equal('ERR_CRYPTO_INCOMPATIBLE_KEY_OPTIONS', code(ec.export, ec, { type = 'pkcs1', format = 'pem' }))
    assert.equal('ERR_INVALID_ARG_VALUE', code(ec.export, ec, { type = 'spki', format = 'pem' }))
    assert.equal('ERR_INVALID_ARG_VALUE', code(ec.export, ec, { type = 'sec1', format = 'xml' }))
    assert.equal('ERR_INVALID_ARG_TYPE', code(ec.export, ec))
  end)

  it('are not read from anything else', function()
    local err = raised(crypto.createPrivateKey, 'nonsense')
    assert.equal('ERR_OSSL_UNSUPPORTED', err.code)
    assert.equal('DECODER routines', err.library)
    assert.equal('ERR_OSSL_UNSUPPORTED', code(crypto.createPublicKey, 'nonsense'))
    assert.equal('ERR_INVALID_ARG_TYPE', code(crypto.createPrivateKey, 5))
    assert.equal('ERR_INVALID_ARG_TYPE', code(crypto.createPublicKey))
    assert.equal('ERR_ILLEGAL_CONSTRUCTOR', code(crypto.KeyObject))
  end)

  it('do not tell their private half as public ones', function()
    local public = crypto.createPublicKey(crypto.createPrivateKey(identity.key))
    assert.equal('ERR_INVALID_ARG_VALUE', code(public.export, public, { type = 'pkcs8', format = 'pem' }))
  end)
end)

describe('X509Certificate', function()
  local ca = spec.ca()
  local identity = ca:issue { names = { 'a.com', '*.b.com', '127.0.0.1', '::1', 'email:me@a.com' }, cn = 'cn.com' }
  local cert = crypto.X509Certificate(identity.cert)
  local issuer = crypto.X509Certificate(ca.cert)

  it('finds hosts', function()
    assert.equal('a.com', cert:checkHost('a.com'))
    assert.equal('a.com', cert:checkHost('A.com'))
    assert.equal('*.b.com', cert:checkHost('x.b.com'))
    assert.is_nil(cert:checkHost('x.b.com', { wildcards = false }))
    assert.is_nil(cert:checkHost('cn.com'))
    assert.equal('cn.com', cert:checkHost('cn.com', { subject = 'always' }))
    assert.is_nil(cert:checkHost('b.com'))
    assert.is_nil(cert:checkHost('x.y.b.com'))
    assert.equal('*.b.com', cert:checkHost('x.y.b.com', { multiLabelWildcards = true }))
    local plain = crypto.X509Certificate(spec.selfSigned({ noSan = true, cn = 'cn.com' }).cert)
    assert.equal('cn.com', plain:checkHost('cn.com'))
    assert.is_nil(plain:checkHost('cn.com', { subject = 'never' }))
  end)

  it('finds addresses of both kinds', function()
    assert.equal('me@a.com', cert:checkEmail('me@a.com'))
    assert.is_nil(cert:checkEmail('you@a.com'))
    assert.equal('127.0.0.1', cert:checkIP('127.0.0.1'))
    assert.equal('0:0::1', cert:checkIP('0:0::1'))
    assert.is_nil(cert:checkIP('127.0.0.2'))
  end)

  it('refuses impossible names and options', function()
    assert.equal('Invalid name', raised(cert.checkHost, cert, 'a\0b').message)
    assert.equal('Invalid name', raised(cert.checkEmail, cert, 'a\0b').message)
    assert.equal('Invalid IP', raised(cert.checkIP, cert, 'nonsense').message)
    assert.equal('ERR_INVALID_ARG_TYPE', code(cert.checkHost, cert, 5))
    assert.equal('ERR_INVALID_ARG_TYPE', code(cert.checkHost, cert, 'a', 5))
    assert.equal('ERR_INVALID_ARG_VALUE', code(cert.checkHost, cert, 'a', { subject = 'x' }))
    assert.equal('ERR_INVALID_ARG_TYPE', code(cert.checkHost, cert, 'a', { subject = 5 }))
    assert.equal('ERR_INVALID_ARG_TYPE', code(cert.checkHost, cert, 'a', { wildcards = 'x' }))
  end)

  it('knows its issuer', function()
    assert.is_true(cert:checkIssued(issuer))
    assert.is_false(issuer:checkIssued(cert))
    assert.is_true(cert:verify(issuer.publicKey))
    assert.is_false(cert:verify(cert.publicKey))
    assert.equal('ERR_INVALID_ARG_TYPE', code(cert.checkIssued, cert, 'x'))
    assert.equal('ERR_INVALID_ARG_TYPE', code(cert.verify, cert, 'x'))
    assert.equal('ERR_INVALID_ARG_VALUE', code(cert.verify, cert, crypto.createPrivateKey(ca.key)))
    local spoilt = crypto.X509Certificate(ca:issue({ spoilSignature = true }).cert)
    assert.is_true(spoilt:checkIssued(issuer))
    assert.is_false(spoilt:verify(issuer.publicKey))
  end)

  it('knows its private key', function()
    assert.is_true(cert:checkPrivateKey(crypto.createPrivateKey(identity.key)))
    assert.is_false(cert:checkPrivateKey(crypto.createPrivateKey(ca.key)))
    assert.equal('ERR_INVALID_ARG_VALUE', code(cert.checkPrivateKey, cert, cert.publicKey))
  end)

  it('is read from PEM, DER and PEM with other things around', function()
    for _, source in ipairs { identity.cert, cert.raw, 'some text\n' .. identity.chain .. 'more',
      (identity.cert:gsub('CERTIFICATE', 'TRUSTED CERTIFICATE')), (identity.cert:gsub('CERT', 'X509 CERT')) } do
      assert.equal(cert.fingerprint256, crypto.X509Certificate(source).fingerprint256)
    end
    assert.equal(identity.cert, tostring(cert))
    assert.equal(identity.cert, cert:toJSON())
  end)

  it('tells the algorithm it was signed with', function()
    assert.equal('ecdsa-with-SHA256', cert.signatureAlgorithm)
    assert.equal('1.2.840.10045.4.3.2', cert.signatureAlgorithmOid)
  end)

  it('is not read from anything else', function()
    local err = raised(crypto.X509Certificate, 'nonsense')
    assert.equal('ERR_OSSL_PEM_NO_START_LINE', err.code)
    assert.equal('PEM routines', err.library)
    assert.equal('no start line', err.reason)
    assert.equal('ERR_OSSL_PEM_NO_START_LINE', code(crypto.X509Certificate, ''))
    assert.equal('ERR_OSSL_ASN1_WRONG_TAG',
      code(crypto.X509Certificate, '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'))
    assert.equal('The "buffer" argument must be of type string. Received type number (5)',
      raised(crypto.X509Certificate, 5).message)
  end)
end)

describe('createCredentials', function()
  it('gives an object whose context is a SecureContext', function()
    local tls = require 'tls'
    local warnings = {}
    process:once('warning', function(warning)
      warnings[#warnings + 1] = warning.code
    end)
    local identity = spec.selfSigned()
    local credentials = crypto.createCredentials { key = identity.key, cert = identity.cert }
    assert.is_true(util.isInstance(credentials.context, tls.SecureContext))
    spec.run(function(done)
      process.nextTick(done)
    end)
    assert.same({ 'DEP0010' }, warnings)
  end)
end)
