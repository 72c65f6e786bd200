-- Certificates as Node sees them: every certificate here is shown to the node program too, and both must say the same.

local crypto = require 'crypto'
local spec = require 'moonlatch.spec'

local BIG_STRING = ('x'):rep(300)

local ca = spec.ca { name = 'X509 Spec Root' }

-- A SET OF attribute types and unusual string types, all legal and all found in the wild or in attacks.
local cases = {
  { 'an RSA certificate', ca:issue { key = 'rsa' } },
  { 'an RSA certificate of 3072 bits', ca:issue { key = 'rsa:3072' } },
  { 'an EC certificate on P-256', ca:issue { key = 'ec:P-256' } },
  { 'an EC certificate on P-384', ca:issue { key = 'ec:P-384' } },
  { 'an EC certificate on P-521', ca:issue { key = 'ec:P-521' } },
  { 'an EC certificate on secp256k1, which NIST has no name for', ca:issue { key = 'ec:secp256k1' } },
  { 'an EC certificate with a compressed point', ca:issue { key = 'ec:P-256:compressed' } },
  { 'an Ed25519 certificate', ca:issue { key = 'ed25519' } },
  { 'an Ed448 certificate', ca:issue { key = 'ed448' } },
  { 'a DSA certificate', ca:issue { key = 'dsa' } },
  { 'an RSA-PSS certificate', ca:issue { key = 'rsa-pss' } },
  { 'a root', ca },
  { 'an intermediate with a path length', ca:intermediate { pathLength = 0 } },
  { 'a self-signed certificate', spec.selfSigned() },
  { 'a certificate without extensions', spec.selfSigned { version = 1, noSan = true } },
  { 'a certificate without alternative names', ca:issue { noSan = true, cn = 'only.example' } },
  { 'a certificate without purposes', ca:issue { purpose = 'none' } },
  { 'purposes OpenSSL has no name for', ca:issue { purpose = 'serverAuth,1.2.3.4.5,codeSigning' } },
  { 'a CA by keyUsage alone', ca:issue { basicConstraints = false, keyUsage = 'keyCertSign' } },
  { 'a CA that may not sign', ca:issue { isCA = true, keyUsage = 'digitalSignature' } },
  { 'an old certificate', ca:issue { validFrom = 100 * 86400 * 365 - 4e9, validTo = -86400 } },
  { 'a date past 2050', ca:issue { validTo = 86400 * 365 * 40 } },
  { 'a day of one digit', ca:issue { validFrom = 1501545600, validTo = 1502150400 } },
  { 'a serial number of zero', ca:issue { serial = '00' } },
  { 'a negative serial number', ca:issue { serial = '-01F0' } },
  { 'a long serial number', ca:issue { serial = ('7F'):rep(20) } },

  { 'every kind of alternative name', ca:issue { names = {
    'a.com', '*.b.com', '127.0.0.1', '::1', 'fe80::1:2', 'URI:http://a.com/x?y=z#w', 'email:a@b.c', 'RID:1.2.3.4',
    'dirName:some body', { kind = 'otherName', oid = '1.2.3.4', value = 'odd' },
    { kind = 'otherName', oid = '1.3.6.1.4.1.311.20.2.3', value = 'user@host' },
    { kind = 'otherName', oid = '1.3.6.1.5.5.7.8.5', value = 'xmpp.example' },
    { kind = 'otherName', oid = '1.3.6.1.5.5.7.8.7', value = '_srv.example', tag = 'IA5' },
    { kind = 'otherName', oid = '1.3.6.1.5.5.7.8.7', value = '_srv.example', tag = 'UTF8' },
    { kind = 'otherName', oid = '1.3.6.1.5.5.7.8.8', value = 'realm' },
    { kind = 'otherName', oid = '1.3.6.1.5.5.7.8.9', value = 'mäil@host' },
  } } },
  { 'commas in a name', ca:issue { names = { 'a.com, DNS:evil.com' }, cn = 'x' } },
  { 'double quotes in a name', ca:issue { names = { 'a"b.com', '"quoted"' }, cn = 'x' } },
  { 'single quotes in a name', ca:issue { names = { "a'b.com" }, cn = 'x' } },
  { 'backslashes in a name', ca:issue { names = { 'a\\b.com', '\\u0041.com' }, cn = 'x' } },
  { 'NULs in a name', ca:issue { names = { 'good.com\0.evil.com', '\0' }, cn = 'x' } },
  { 'newlines in a name', ca:issue { names = { 'a\nb.com', 'a\r\nDNS:b.com' }, cn = 'x' } },
  { 'control characters in a name', ca:issue { names = { 'a\1\127\31b', '\8\9\11\12' }, cn = 'x' } },
  { 'Latin-1 bytes in a name', ca:issue { names = { 'm\252nchen.de', '\128\255' }, cn = 'x' } },
  { 'UTF-8 in a name', ca:issue { names = { 'münchen.de', '例え.jp' }, cn = 'x' } },
  { 'an empty name', ca:issue { names = { { kind = 'DNS', value = '' } }, cn = 'x' } },
  { 'a very long name', ca:issue { names = { BIG_STRING .. '.com' }, cn = 'x' } },
  { 'hostile URIs', ca:issue { names = { 'URI:http://a/,DNS:b', 'URI:http://a/"', 'URI:\0' }, cn = 'x' } },
  { 'hostile addresses of mail', ca:issue { names = { 'email:a@b.c, DNS:d', 'email:\233@x' }, cn = 'x' } },
  { 'directory names to escape', ca:issue { names = {
    'dirName:a, DNS:b', 'dirName:a"b', 'dirName:ä', 'dirName:a\0b', 'dirName:a\nb', 'dirName:#a', 'dirName: a ' },
    cn = 'x' } },
  { 'other names to escape', ca:issue { names = {
    { kind = 'otherName', oid = '1.3.6.1.4.1.311.20.2.3', value = 'a, DNS:b' },
    { kind = 'otherName', oid = '1.3.6.1.4.1.311.20.2.3', value = 'ä"\0\n' },
    { kind = 'otherName', oid = '1.3.6.1.5.5.7.8.7', value = '\228', tag = 'IA5' } }, cn = 'x' } },
  { 'addresses of a wrong length', ca:issue { names = {
    { kind = 'IP bytes', value = '' }, { kind = 'IP bytes', value = '\1\2\3' },
    { kind = 'IP bytes', value = ('\1'):rep(5) }, { kind = 'IP bytes', value = ('\255'):rep(32) } }, cn = 'x' } },
  { 'an alternative name extension that is no such thing', ca:issue { noSan = true, cn = 'x',
    extensions = { { name = '2.5.29.17', value = '\48\3\1\1\1', der = true } } } },

  { 'information access', ca:issue { ocspUri = { 'http://a/', 'http://b/' }, caIssuersUri = 'http://c/?x:y' } },
  { 'hostile information access', ca:issue { infoAccess = {
    { method = 'OCSP', kind = 'URI', value = 'http://a/\nCA Issuers - URI:http://evil/' },
    { method = 'OCSP', kind = 'URI', value = 'http://a/"\\\0\233,' },
    { method = 'caIssuers', kind = 'DNS', value = 'plain' }, { method = '1.2.3.4', kind = 'email', value = 'x@y' },
    { method = 'OCSP', kind = 'dirName', value = 'a, b' }, { method = 'OCSP', kind = 'IP', value = '::1' },
    { method = 'OCSP', kind = 'otherName', oid = '1.3.6.1.4.1.311.20.2.3', value = 'a:b,c' } } } },
  { 'an information access extension that is no such thing', ca:issue {
    extensions = { { name = '1.3.6.1.5.5.7.1.1', value = '\5\0', der = true } } } },

  { 'repeated attributes', ca:issue { subject = { { 'CN', 'a' }, { 'OU', 'x' }, { 'CN', 'b' }, { 'OU', 'y' },
    { 'CN', 'c' } } } },
  { 'relative names of several attributes', ca:issue { subject = { { 'C', 'US' }, { 'O', 'a' },
    { 'OU', { value = 'b', joined = true } }, { 'CN', 'c' } } } },
  { 'attributes without a name', ca:issue { subject = { { '1.2.3.4', 'x' }, { '1.2.3.4', 'y' }, { 'CN', 'z' } } } },
  { 'attributes with long names', ca:issue { subject = { { 'emailAddress', 'a@b' }, { 'serialNumber', '5' },
    { 'GN', 'g' }, { 'SN', 's' }, { 'title', 't' }, { 'DC', 'dc' }, { 'UID', 'u' }, { 'street', 'st' } } } },
  { 'an empty subject', ca:issue { subject = {} } },
  { 'a subject to escape', ca:issue { subject = { { 'CN', ' a,b+c"d\\e<f>g;h#i=j ' }, { 'O', '#x' } } } },
  { 'a subject in UTF-8', ca:issue { subject = { { 'CN', 'Zoë 例え 😀' } } } },
  { 'a BMPString', ca:issue { subject = { { 'CN', { value = '\0Z\0o\0\235', tag = 'BMP' } } } } },
  { 'a T61String', ca:issue { subject = { { 'CN', { value = 'Zo\235', tag = 'T61' } } } } },
  { 'a UniversalString', ca:issue { subject = { { 'CN', { value = '\0\0\0Z\0\1\246\0', tag = 'UNIVERSAL' } } } } },
  { 'an IA5String that is not ASCII', ca:issue { subject = { { 'O', { value = 'Zo\235', tag = 'IA5' } } } } },
  { 'NULs in a subject', ca:issue { subject = { { 'CN', { value = 'good.com\0.evil.com', tag = 'UTF8' } } } } },
  { 'newlines in a subject', ca:issue { subject = { { 'CN', { value = 'a\nCN=b', tag = 'UTF8' } } } } },
  { 'attributes called like methods', ca:issue { subject = { { 'CN', '__proto__' }, { 'O', 'constructor' } } } },
}

-- Reads PEMs from standard input and prints what node says of each as a Lua table.
local SCRIPT = [[
const { X509Certificate } = require('crypto');
const string = (b) => '"' + [...b].map((c) => '\\' + String(c).padStart(3, '0')).join('') + '"';
const lua = (v) => {
  if (v === undefined || v === null) return 'nil';
  if (Buffer.isBuffer(v)) return string(v);
  if (typeof v === 'string') return string(Buffer.from(v));
  if (typeof v === 'bigint') return String(v);
  if (Array.isArray(v)) return '{' + v.map(lua).join(',') + '}';
  if (typeof v === 'object') return '{' + Object.keys(v).map((k) => `[${lua(k)}]=${lua(v[k])}`).join(',') + '}';
  return String(v);
};
const key = (x) => { try { const k = x.publicKey;
  return { type: k.type, asymmetricKeyType: k.asymmetricKeyType, asymmetricKeyDetails: k.asymmetricKeyDetails,
    spki: k.export({ type: 'spki', format: 'pem' }) }; } catch (e) { return undefined; } };
const names = ['subject', 'issuer', 'subjectAltName', 'infoAccess', 'validFrom', 'validTo', 'fingerprint',
  'fingerprint256', 'fingerprint512', 'keyUsage', 'serialNumber', 'raw', 'ca'];
const pems = require('fs').readFileSync(0, 'latin1').split(/(?=-----BEGIN CERT)/);
console.log('return {' + pems.map((pem) => {
  const x = new X509Certificate(pem);
  const properties = {};
  for (const n of names) properties[n] = x[n];
  return lua({ legacy: x.toLegacyObject(), properties, key: key(x), pem: x.toString(),
    from: Date.parse(x.validFrom) / 1000 });
}).join(',\n') + '}');
]]

local function ask(fn)
  local pems = {}
  for i, case in ipairs(cases) do
    pems[i] = case[2].cert
  end
  spec.run(function(_, expect)
    spec.command({ 'node', '-e', SCRIPT }, { input = table.concat(pems) }, expect(function(status, out, err)
      assert.equal(0, status, err)
      fn(assert(loadstring(out))())
    end))
  end)
end

describe('a certificate', function()
  local answers

  setup(function()
    ask(function(list)
      answers = list
    end)
  end)

  for i, case in ipairs(cases) do
    it('reads as in Node: ' .. case[1], function()
      local theirs = answers[i]
      local ours = crypto.X509Certificate(case[2].cert)
      assert.same(theirs.legacy, ours:toLegacyObject())
      local properties = {}
      for name in pairs(theirs.properties) do
        properties[name] = ours[name]
      end
      assert.same(theirs.properties, properties)
      assert.equal(theirs.pem, ours:toString())
      assert.equal(theirs.from, ours.validFromDate)
    end)

    it('has the same public key as in Node: ' .. case[1], function()
      local theirs = answers[i].key
      local ours = crypto.X509Certificate(case[2].cert).publicKey
      assert.equal('public', ours.type)
      assert.equal(theirs.asymmetricKeyType, ours.asymmetricKeyType)
      assert.same(theirs.asymmetricKeyDetails, ours.asymmetricKeyDetails)
      assert.equal(theirs.spki, ours:export { type = 'spki', format = 'pem' })
    end)
  end
end)

describe("a peer's certificate in detail", function()
  -- What a client of `options` sees of a server with `identity`.
  local function peer(identity, trusted, check)
    local tls = require 'tls'
    spec.run(function(_, expect)
      local server = tls.createServer({ key = identity.key, cert = identity.chain })
      server:listen(0, '127.0.0.1', function()
        local client
        client = tls.connect({ port = server:address().port, host = '127.0.0.1', servername = 'localhost',
          ca = trusted }, expect(function()
          check(client:getPeerCertificate(true), client:getPeerCertificate())
          client:finish()
          server:close()
        end))
        client:resume()
      end)
    end)
  end

  it('leads to the root, which leads to itself', function()
    local root = spec.ca()
    local middle = root:intermediate()
    local leaf = middle:intermediate():issue()
    peer(leaf, root.cert, function(cert, short)
      assert.is_nil(short.issuerCertificate)
      assert.equal(leaf.serialNumber, cert.serialNumber)
      local second = cert.issuerCertificate
      local third = second.issuerCertificate
      local last = third.issuerCertificate
      assert.equal(middle.serialNumber, third.serialNumber)
      assert.equal(root.serialNumber, last.serialNumber)
      assert.equal(last, last.issuerCertificate)
    end)
  end)

  it('leads from a self-signed one to itself at once', function()
    local alone = spec.selfSigned()
    peer(alone, alone.cert, function(cert)
      assert.equal(cert, cert.issuerCertificate)
    end)
  end)
end)
