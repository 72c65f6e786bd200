-- crypto.ocsp: what it asks is understood by `openssl ocsp`, and what that answers is understood here.
local crypto = require 'crypto'
local errors = require 'moonlatch.errors'
local fs = require 'fs'
local spec = require 'moonlatch.spec'
local P = require 'spec.support.peers'
local responder = require 'spec.support.responder'

local URL = 'http://127.0.0.1:8888/ocsp'

local ca = spec.ca { name = 'OCSP Spec Root' }
local leaf = ca:issue { ocspUri = URL }
local other = ca:issue()
-- Another authority of the same name, with a key of its own.
local double = spec.ca { name = 'OCSP Spec Root', key = 'ec:P-384' }

local function raised(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  assert.is_true(errors.isError(err), tostring(err))
  return err
end

local function der(identity)
  return crypto.X509Certificate(identity.cert).raw
end

describe('crypto.ocsp.request', function()
  local function readByOpenssl(await, dir, request)
    fs.writeFileSync(dir .. '/request', request.der)
    local status, stdout, stderr = P.run(await, { 'openssl', 'ocsp', '-reqin', dir .. '/request', '-req_text' })
    assert.equal(0, status, stderr)
    return stdout
  end

  it('makes a request that openssl reads', P.test({}, function(await, files)
    local text = readByOpenssl(await, files.dir, crypto.ocsp.request(leaf.cert, ca.cert))
    assert.matches('Hash Algorithm: sha1\n', text)
    assert.matches('Serial Number: ' .. leaf.serialNumber .. '\n', text)
    assert.not_matches('Nonce', text)
  end))

  it('puts a nonce of 32 random bytes in when asked to', P.test({}, function(await, files)
    local request = crypto.ocsp.request(leaf.cert, ca.cert, { nonce = true })
    assert.equal(32, #request.nonce)
    assert.not_equal(request.nonce, crypto.ocsp.request(leaf.cert, ca.cert, { nonce = true }).nonce)
    local shown = request.nonce:gsub('.', function(byte)
      return ('%02X'):format(byte:byte())
    end)
    local text = readByOpenssl(await, files.dir, request):gsub('%s', '')
    assert.matches('OCSPNonce:0420' .. shown, text)
  end))

  it("takes the script's own nonce", function()
    local request = crypto.ocsp.request(leaf.cert, ca.cert, { nonce = 'four' })
    assert.equal('four', request.nonce)
    assert.matches('\4\4four$', request.der)
    assert.is_nil(crypto.ocsp.request(leaf.cert, ca.cert, { nonce = false }).nonce)
  end)

  it('reads PEM, DER and certificates', function()
    local expected = crypto.ocsp.request(leaf.cert, ca.cert)
    assert.same(expected, crypto.ocsp.request(der(leaf), der(ca)))
    assert.same(expected, crypto.ocsp.request(crypto.X509Certificate(leaf.cert), crypto.X509Certificate(ca.cert)))
  end)

  it('tells an identifier that is a part of the request, and another for another certificate', function()
    local one = crypto.ocsp.request(leaf.cert, ca.cert, { nonce = true })
    assert.truthy(one.der:find(one.id, 1, true))
    assert.equal(one.id, crypto.ocsp.request(leaf.cert, ca.cert).id)
    assert.not_equal(one.id, crypto.ocsp.request(other.cert, ca.cert).id)
  end)

  it('tells the first address over HTTP that the certificate names, if any', function()
    local function url(options)
      return crypto.ocsp.request(ca:issue(options).cert, ca.cert).url
    end
    assert.equal(URL, crypto.ocsp.request(leaf.cert, ca.cert).url)
    assert.is_nil(url {})
    assert.is_nil(url { caIssuersUri = URL })
    assert.equal('HTTPS://b/', url { ocspUri = { 'ldap://a/', 'HTTPS://b/', 'http://c/' } })
  end)

  it('passes over addresses that would say more in a request line', function()
    local hostile = { 'http://a/\r\nHost: b', 'http://a/ b', 'http://a/\0', 'http://\195\164/', 'http://a/\127' }
    for _, uri in ipairs(hostile) do
      local cert = ca:issue { ocspUri = { uri, URL } }
      assert.equal(URL, crypto.ocsp.request(cert.cert, ca.cert).url)
    end
  end)

  it('refuses an issuer that cannot have issued the certificate', function()
    assert.equal('SUBJECT_ISSUER_MISMATCH', raised(crypto.ocsp.request, leaf.cert, spec.ca().cert).code)
    assert.equal('AKID_SKID_MISMATCH', raised(crypto.ocsp.request, leaf.cert, double.cert).code)
  end)

  it('checks its arguments', function()
    local cases = {
      { 'ERR_INVALID_ARG_TYPE', 'The "certificate" argument must be of type string or an instance' },
      { 'ERR_INVALID_ARG_TYPE', 'The "issuer" argument must be of type string or an instance', leaf.cert },
      { 'ERR_INVALID_ARG_TYPE', 'The "issuer" argument', leaf.cert, {} },
      { 'ERR_INVALID_ARG_TYPE', 'The "options" argument', leaf.cert, ca.cert, 5 },
      { 'ERR_INVALID_ARG_TYPE', 'The "options.nonce" property', leaf.cert, ca.cert, { nonce = 5 } },
      { 'ERR_OUT_OF_RANGE', '"options.nonce" is out of range', leaf.cert, ca.cert, { nonce = '' } },
      { 'ERR_OUT_OF_RANGE', '"options.nonce" is out of range', leaf.cert, ca.cert, { nonce = ('x'):rep(129) } },
      { 'ERR_OSSL_PEM_NO_START_LINE', 'no start line', 'garbage', ca.cert },
      { 'ERR_OSSL_PEM_NO_START_LINE', 'no start line', leaf.cert, 'garbage' },
    }
    for _, case in ipairs(cases) do
      local err = raised(crypto.ocsp.request, unpack(case, 3, 5))
      assert.equal(case[1], err.code)
      assert.truthy(err.message:find(case[2], 1, true), err.message)
    end
  end)
end)

describe('crypto.ocsp.parse', function()
  -- What `openssl ocsp` answers about `identity`, parsed.
  local function asked(await, files, identity, options)
    local issuer = identity.issuer
    local request = crypto.ocsp.request(identity.cert, issuer.cert, { nonce = options.nonce })
    local response = responder.new(files.dir, issuer, options):answer(await, request.der)
    return crypto.ocsp.parse(response, issuer.cert, { certificate = identity.cert, nonce = request.nonce }), response
  end

  it("reads openssl's answer about a good certificate", P.test({}, function(await, files)
    local result, response = asked(await, files, leaf, { issued = { leaf }, arguments = { '-ndays', '2' } })
    assert.equal('successful', result.responseStatus)
    assert.equal('good', result.status)
    assert.equal(leaf.serialNumber, result.serialNumber)
    assert.equal(2 * 86400, result.nextUpdateDate - result.thisUpdateDate)
    assert.is_true(result.verified)
    assert.is_nil(result.verifyError)
    assert.is_nil(result.revocationTime)
    -- The same words as openssl's.
    fs.writeFileSync(files.dir .. '/answer', response)
    local _, text = P.run(await, { 'openssl', 'ocsp', '-respin', files.dir .. '/answer', '-resp_text', '-noverify' })
    assert.equal(text:match('Produced At: ([^\n]*)'), result.producedAt)
    assert.equal(text:match('This Update: ([^\n]*)'), result.thisUpdate)
    assert.equal(text:match('Next Update: ([^\n]*)'), result.nextUpdate)
  end))

  it("reads openssl's answer about a revoked certificate", P.test({}, function(await, files)
    local result = asked(await, files, leaf, { revoked = { keyCompromise = leaf } })
    assert.equal('revoked', result.status)
    assert.equal('keyCompromise', result.revocationReason)
    assert.equal(result.revocationTimeDate, crypto.X509Certificate(spec.selfSigned {
      validFrom = result.revocationTimeDate }.cert).validFromDate)
    assert.matches(' GMT$', result.revocationTime)
    assert.is_nil(result.nextUpdate)
    assert.is_true(result.verified)
  end))

  it("reads openssl's answer about a certificate that it does not know", P.test({}, function(await, files)
    local result = asked(await, files, leaf, { issued = { other } })
    assert.equal('unknown', result.status)
    assert.is_true(result.verified)
  end))

  it('verifies what a delegated responder of openssl signed', P.test({}, function(await, files)
    local result = asked(await, files, leaf, { issued = { leaf }, signer = ca:issue { purpose = 'ocsp' } })
    assert.equal('good', result.status)
    assert.is_true(result.verified)
  end))

  it("finds its nonce in openssl's answer", P.test({}, function(await, files)
    assert.is_true(asked(await, files, leaf, { issued = { leaf }, nonce = true }).verified)
  end))

  for _, status in ipairs { 'malformedRequest', 'internalError', 'tryLater', 'sigRequired', 'unauthorized' } do
    it('has nothing but the status of a response that is ' .. status, function()
      local result = crypto.ocsp.parse(ca:ocspResponse(leaf, { responseStatus = status }), ca.cert)
      assert.matches(status, result.verifyError.message)
      result.verifyError = nil
      assert.same({ responseStatus = status, verified = false }, result)
    end)
  end

  local function verdict(options, expected)
    return crypto.ocsp.parse(ca:ocspResponse(leaf, options), ca.cert, expected)
  end

  local middle = ca:intermediate()

  -- What is wrong with the response, what then becomes of it, its options, what is expected, and the issuer.
  local unverified = {
    { 'without an issuer', 'UNABLE_TO_GET_ISSUER_CERT', {}, nil, false },
    { 'under another authority', 'ERR_OSSL_OCSP_CERTIFICATE_VERIFY_ERROR', {}, nil, spec.ca().cert },
    { 'under another authority of the same name', 'ERR_OSSL_OCSP_SIGNATURE_FAILURE', {}, nil, double.cert },
    { 'of an authority below the issuer', 'OCSP_CERT_UNKNOWN', { authority = middle, identity = middle:issue() } },
    { 'with a spoilt signature', 'ERR_OSSL_OCSP_SIGNATURE_FAILURE', { spoilSignature = true } },
    { 'signed by a certificate without OCSPSigning', 'ERR_OSSL_OCSP_MISSING_OCSPSIGNING_USAGE', { signer = other } },
    { 'signed by a stranger', 'ERR_OSSL_OCSP_SIGNATURE_FAILURE', { signer = double } },
    { "signed by a stranger's responder", 'ERR_OSSL_OCSP_CERTIFICATE_VERIFY_ERROR',
      { signer = double:issue { purpose = 'ocsp' } } },
    { 'signed by a responder of an authority below the issuer', 'ERR_OSSL_OCSP_CERTIFICATE_VERIFY_ERROR',
      { signer = ca:intermediate():issue { purpose = 'ocsp' } } },
    { 'signed by a responder whose certificate has expired',
      'ERR_OSSL_OCSP_CERTIFICATE_VERIFY_ERROR', { signer = ca:issue { purpose = 'ocsp', validTo = -60 } } },
    { 'whose time is over', 'ERR_OSSL_OCSP_STATUS_EXPIRED', { nextUpdate = -400 } },
    { 'of the future', 'ERR_OSSL_OCSP_STATUS_NOT_YET_VALID', { thisUpdate = 400 } },
    { 'that ends before it begins', 'ERR_OSSL_OCSP_NEXTUPDATE_BEFORE_THISUPDATE',
      { nextUpdate = -10, thisUpdate = 10 } },
    { 'about another certificate', 'OCSP_CERT_UNKNOWN', {}, { certificate = other.cert } },
    { 'for a certificate that the issuer did not issue', 'AKID_SKID_MISMATCH', {},
      { certificate = double:issue({ serial = leaf.serialNumber }).cert } },
    { 'with another nonce', 'ERR_OCSP_NONCE_MISMATCH', { nonce = 'abc' }, { nonce = 'abd' } },
    { 'without the nonce', 'ERR_OCSP_NONCE_MISMATCH', {}, { nonce = 'abc' } },
  }
  for _, case in ipairs(unverified) do
    it('does not verify a response ' .. case[1], function()
      local options, issuer = case[3], ca.cert
      if case[5] ~= nil then
        issuer = case[5] or nil
      end
      local response = (options.authority or ca):ocspResponse(options.identity or leaf, options)
      local result = crypto.ocsp.parse(response, issuer, case[4])
      assert.is_false(result.verified)
      assert.is_true(errors.isError(result.verifyError))
      assert.equal(case[2], result.verifyError.code)
    end)
  end

  it("says what is wrong with a responder's certificate", function()
    local result = verdict { signer = ca:issue { purpose = 'ocsp', validTo = -60 } }
    assert.matches('certificate has expired', result.verifyError.message)
  end)

  it('says nothing of a certificate that the response is not about', function()
    local result = verdict({}, { certificate = other.cert })
    assert.equal('successful', result.responseStatus)
    assert.is_nil(result.status)
    assert.is_nil(result.thisUpdate)
    assert.is_nil(result.serialNumber)
  end)

  it('shows what an old response says', function()
    local result = verdict { nextUpdate = -3600, thisUpdate = -7200 }
    assert.equal('good', result.status)
    assert.is_true(result.nextUpdateDate < os.time())
  end)

  it('forgives clocks that differ by less than five minutes', function()
    assert.is_true(verdict({ nextUpdate = -200 }).verified)
    assert.is_true(verdict({ thisUpdate = 200 }).verified)
  end)

  it('takes a response without nextUpdate', function()
    local result = verdict { nextUpdate = false }
    assert.is_true(result.verified)
    assert.is_nil(result.nextUpdate)
    assert.is_nil(result.nextUpdateDate)
  end)

  it('finds its certificate among others, whatever the hash', function()
    for _, digest in ipairs { 'SHA1', 'SHA256', 'SHA512' } do
      local result = verdict({ idDigest = digest, others = { other } }, { certificate = leaf.cert })
      assert.equal(leaf.serialNumber, result.serialNumber)
      assert.is_true(result.verified)
    end
  end)

  it('is about the first certificate when none is expected', function()
    assert.equal(other.serialNumber, verdict({ others = { other } }).serialNumber)
  end)

  it('verifies under an authority that is no root', function()
    local below = middle:issue()
    local response = middle:ocspResponse(below)
    assert.is_true(crypto.ocsp.parse(response, middle.cert, { certificate = below.cert }).verified)
    assert.is_true(crypto.ocsp.parse(response, middle.cert).verified)
  end)

  for _, kind in ipairs { 'rsa', 'rsa-pss', 'ed25519', 'ec:P-384' } do
    it('verifies signatures of ' .. kind, function()
      local authority = spec.ca { key = kind }
      local below = authority:issue()
      local function verified(options)
        return crypto.ocsp.parse(authority:ocspResponse(below, options), authority.cert).verified
      end
      assert.is_true(verified())
      assert.is_false(verified { spoilSignature = true })
    end)
  end

  it('raises one clear error for every beginning of a response', function()
    local response = ca:ocspResponse(leaf, { signer = ca:issue { purpose = 'ocsp' }, nonce = 'abc' })
    for length = 0, #response - 1 do
      local err = raised(crypto.ocsp.parse, response:sub(1, length), ca.cert)
      assert.equal('ERR_OCSP_MALFORMED_RESPONSE', err.code)
      assert.matches('^Not an OCSP response: %l', err.message)
    end
  end)

  it('raises it for more than a response, and for what is none', function()
    for _, bytes in ipairs { ca:ocspResponse(leaf) .. '\0', 'garbage', ca.cert, der(ca), crypto.randomBytes(300),
      '\48\3\10\1\0', '\48\3\10\1\4', '\48\3\10\1\7' } do
      assert.equal('ERR_OCSP_MALFORMED_RESPONSE', raised(crypto.ocsp.parse, bytes, ca.cert).code)
    end
  end)

  it('never verifies a response with a byte changed in what is signed', function()
    local response = ca:ocspResponse(leaf)
    local serial = response:find(leaf.serialNumber:gsub('%x%x', function(hex)
      return string.char(tonumber(hex, 16))
    end), 1, true)
    for at = serial - 40, serial + 30 do
      local changed = response:sub(1, at - 1) .. string.char(bit.bxor(response:byte(at), 1)) .. response:sub(at + 1)
      local ok, result = pcall(crypto.ocsp.parse, changed, ca.cert, { certificate = leaf.cert })
      assert.is_false(ok and result.verified, ('byte %d of %d'):format(at, #response))
    end
  end)

  it('checks its arguments', function()
    local response = ca:ocspResponse(leaf)
    local cases = {
      { 'ERR_INVALID_ARG_TYPE', 'The "response" argument', nil, ca.cert },
      { 'ERR_INVALID_ARG_TYPE', 'The "response" argument', {}, ca.cert },
      { 'ERR_INVALID_ARG_TYPE', 'The "issuer" argument', response, 5 },
      { 'ERR_INVALID_ARG_TYPE', 'The "options" argument', response, ca.cert, 'x' },
      { 'ERR_INVALID_ARG_TYPE', 'The "options.certificate" property', response, ca.cert, { certificate = 5 } },
      { 'ERR_INVALID_ARG_TYPE', 'The "options.nonce" property', response, ca.cert, { nonce = true } },
      { 'ERR_OUT_OF_RANGE', '"options.nonce" is out of range', response, ca.cert, { nonce = '' } },
      { 'ERR_OSSL_PEM_NO_START_LINE', 'no start line', response, 'garbage' },
      { 'ERR_OSSL_PEM_NO_START_LINE', 'no start line', response, ca.cert, { certificate = 'garbage' } },
    }
    for _, case in ipairs(cases) do
      local err = raised(crypto.ocsp.parse, unpack(case, 3, 5))
      assert.equal(case[1], err.code)
      assert.truthy(err.message:find(case[2], 1, true), err.message)
    end
  end)
end)
