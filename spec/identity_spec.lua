-- tls.checkServerIdentity: who a certificate belongs to. Each case names where it comes from; all of them are shown to
-- the node program as well, which must agree.

local checkServerIdentity = require('moonlatch.tls.identity').checkServerIdentity
local hasSpec, spec = pcall(require, 'moonlatch.spec')

-- What the reason says. A case that ends in OK is accepted.
local OK = 'ok'
local ALT = 'not in the altnames' -- Host: h. is not in the cert's altnames: …
local CN = 'not the common name'  -- Host: h. is not cert's CN: …
local NONE = 'no name at all'     -- Cert does not contain a DNS name
local BROKEN = 'broken list'      -- raises ERR_TLS_CERT_ALTNAME_FORMAT
local function IP(list)           -- IP: a is not in the cert's list: …
  return { list = list }
end

local NODE_TEST = 'Node, test-tls-check-server-identity.js'
local GO = 'Go, crypto/x509 verify_test.go, matchHostnames'
local CHROMIUM = 'Chromium, x509_certificate_unittest.cc, VerifyHostname'

-- host, subjectaltname (nil: none), common name (nil: none; a list: several), outcome, source
local cases = {
  -- Common names
  { 'a.com', nil, 'a.com', OK, NODE_TEST },
  { 'a.com', nil, 'A.COM', OK, NODE_TEST },
  { 'a.com', nil, 'b.com', CN, NODE_TEST },
  { 'a.com', nil, 'a.com.', OK, NODE_TEST },
  { 'a.com', nil, '.a.com', CN, NODE_TEST },
  { 'b.a.com', nil, '*.a.com', OK, NODE_TEST },
  { 'ba.com', nil, '*.a.com', CN, NODE_TEST },
  { '\n.a.com', nil, '*.a.com', OK, NODE_TEST .. ' (the host is not judged, only compared)' },
  { 'foo.com', nil, { 'foo.com', 'bar.com' }, OK, NODE_TEST },
  { 'bar.com', nil, { 'foo.com', 'bar.com' }, OK, NODE_TEST },
  { 'baz.com', nil, { 'foo.com', 'bar.com' }, CN, NODE_TEST },
  { 'a.com', nil, nil, NONE, 'RFC 6125, 6.4.4: nothing to compare with' },
  { 'a.com', nil, '', NONE, 'RFC 6125, 6.4.4: an empty common name is none' },
  { 'a.com', '', 'a.com', OK, 'RFC 6125, 6.4.4: an empty list is none' },
  { 'b.a.com', 'DNS:omg.com', '*.a.com', ALT, NODE_TEST },
  { 'a.com', 'DNS:b.com', 'a.com', ALT, 'RFC 6125, 6.4.4: the common name is a last resort' },
  { 'localhost', 'DNS:a.com', 'localhost', ALT, NODE_TEST },
  { 'a.com', 'email:a@a.com', 'a.com', OK, 'Node: mail addresses do not displace the common name' },
  { 'a.b.a.com', 'URI:http://*.b.a.com/', 'a.b.a.com', OK, 'Node: URIs do not displace the common name' },
  { 'a.com', 'IP Address:127.0.0.1', 'a.com', OK, 'Node 20: addresses do not displace the common name' },
  { 'a.com', nil, 'a.com,CN=b.com', CN, 'CVE-2012-6153: a CN inside a CN' },
  { 'a.com', nil, 'x O=foo,CN=a.com', CN, 'CVE-2014-3577: a CN inside another attribute' },
  { 'a.com', nil, 'a.com\0.evil.com', CN, 'CVE-2009-2408: NUL in a common name' },
  { 'a.com', nil, 'a.com\0', CN, 'CVE-2009-2417: NUL at the end' },
  { 'a.com', nil, 'a.com ', CN, 'RFC 6125, 6.4.1: all of the name counts' },
  { 'a.com', nil, ' a.com', CN, 'RFC 6125, 6.4.1: all of the name counts' },
  { 'a.com', nil, 'a.com\nCN=b.com', CN, 'RFC 6125, 6.4.1: a line is no separator' },
  { 'a.com', nil, '*', CN, 'RFC 6125, 7.2: a wildcard needs labels' },
  { 'a.com', nil, '*.com', CN, NODE_TEST },
  { '127.0.0.1', nil, '127.0.0.1', IP '', 'RFC 6125, 1.7.2: an address in a common name is none' },
  { '::1', nil, '::1', IP '', 'RFC 6125, 1.7.2: an address in a common name is none' },
  { '1.2.3.4', nil, '*.2.3.4', IP '', 'CVE-2014-0139: wildcards and addresses' },
  { '1.2.3.4', nil, nil, IP '', 'RFC 9525, 6.5: an address needs an iPAddress' },
  { 'evil.a.com', nil, 'e*.a.com', OK, 'RFC 6125, 6.4.3: part of a label' },

  -- DNS names
  { 'a.com', 'DNS:a.com', 'b.com', OK, NODE_TEST },
  { 'a.com', 'DNS:A.COM', 'b.com', OK, NODE_TEST },
  { 'A.CoM', 'DNS:a.cOm', nil, OK, 'RFC 9525, 6.3: ASCII case does not matter' },
  { 'a.com', 'DNS:b.com, DNS:a.com', nil, OK, 'RFC 9525, 6.2: any of the names' },
  { 'a.com', 'DNS:b.com, DNS:c.com', nil, ALT, 'RFC 9525, 6.2: any of the names' },
  { 'a.com', 'DNS:a.com.', nil, OK, 'RFC 1034, 3.1: absolute name' },
  { 'a.com.', 'DNS:a.com', nil, OK, 'RFC 1034, 3.1: absolute host' },
  { 'a.com.', 'DNS:a.com.', nil, OK, 'RFC 1034, 3.1: both absolute' },
  { 'b.com.', 'DNS:a.com', nil, ALT, 'RFC 1034, 3.1: absolute host, other name' },
  { 'a.com', 'DNS:a.com..', nil, ALT, 'RFC 1034, 3.1: an empty label' },
  { 'a.com', 'DNS:.a.com', nil, ALT, 'RFC 5280, 4.2.1.10: a constraint is no name' },
  { 'www.a.com', 'DNS:.a.com', nil, ALT, 'RFC 5280, 4.2.1.10: a constraint is no name' },
  { 'a..com', 'DNS:a..com', nil, ALT, 'RFC 1034, 3.1: empty labels never match' },
  { '.a.com', 'DNS:.a.com', nil, ALT, 'RFC 1034, 3.1: empty labels never match' },
  { 'com', 'DNS:com', nil, OK, 'RFC 9525, 6.3: a name of one label' },
  { 'localhost', 'DNS:localhost', nil, OK, 'RFC 9525, 6.3: a name of one label' },
  { 'a.com', 'DNS:', nil, ALT, 'RFC 5280, 4.2.1.6: an empty name' },
  { '', 'DNS:', nil, ALT, 'RFC 5280, 4.2.1.6: an empty name matches nothing' },
  { 'a.com', 'DNS:xa.com', nil, ALT, GO },
  { 'xa.com', 'DNS:a.com', nil, ALT, GO },
  { 'b.a.com', 'DNS:a.com', nil, ALT, 'RFC 9525, 6.3: all labels' },
  { 'a.com', 'DNS:b.a.com', nil, ALT, 'RFC 9525, 6.3: all labels' },
  { 'a_b.com', 'DNS:a_b.com', nil, OK, 'RFC 9525, 6.3, and browsers: underscores' },
  { '-a.com', 'DNS:-a.com', nil, OK, 'Node: host name syntax is not enforced' },
  { 'a.com', 'DNS:a.com:443', nil, ALT, 'RFC 9525, 6.1: no port' },
  { 'a.com', 'DNS:https://a.com', nil, ALT, 'RFC 9525, 6.1: no scheme' },
  { 'a.com', 'DNS:user@a.com', nil, ALT, 'RFC 9525, 6.1: no user' },
  { 'a.com', 'DNS:a.com/', nil, ALT, 'RFC 9525, 6.1: no path' },
  { 'a.com', 'DNS: a.com', nil, ALT, 'RFC 5280, 4.2.1.6: blanks' },
  { 'a.com', 'DNS:a.com ', nil, ALT, 'RFC 5280, 4.2.1.6: blanks' },
  { 'a b.com', 'DNS:a b.com', nil, ALT, 'Node: names with blanks never match' },
  { 'a\t.com', 'DNS:a\t.com', nil, ALT, 'Node: names with control characters never match' },
  { 'a.com', 'dns:a.com', nil, NONE, 'Node: types are matched exactly' },
  { 'a.com', 'XDNS:a.com', nil, NONE, 'Node: types are matched exactly' },
  { 'a.com', 'othername:<unsupported>, DNS:a.com', nil, OK, 'RFC 9525, 6.2: other types are passed over' },

  -- Wildcards
  { 'a.com', 'DNS:*', 'b.com', ALT, NODE_TEST },
  { 'a.com', 'DNS:*.com', 'b.com', ALT, NODE_TEST },
  { 'a.co.uk', 'DNS:*.co.uk', 'b.com', OK, NODE_TEST },
  { 'a.com', 'DNS:*.a.com', 'a.com', ALT, NODE_TEST },
  { 'a.com', 'DNS:*.a.com', 'b.com', ALT, NODE_TEST },
  { 'a.com', 'DNS:*.a.com', nil, ALT, NODE_TEST },
  { 'b.a.com', 'DNS:*.a.com', nil, OK, NODE_TEST },
  { 'B.A.COM', 'DNS:*.a.com', nil, OK, 'RFC 9525, 6.3: case and wildcards' },
  { 'c.b.a.com', 'DNS:*.a.com', nil, ALT, NODE_TEST },
  { 'b.a.com', 'DNS:*b.a.com', nil, OK, NODE_TEST },
  { 'a-cb.a.com', 'DNS:*b.a.com', nil, OK, NODE_TEST },
  { 'a.b.a.com', 'DNS:*b.a.com', nil, ALT, NODE_TEST },
  { 'a.b.a.com', 'DNS:*b.a.com, DNS:a.b.a.com', nil, OK, NODE_TEST },
  { 'foo.example.com', 'DNS:f*.example.com', nil, OK, 'RFC 6125, 6.4.3: "f*.example.com"' },
  { 'baz1.example.net', 'DNS:baz*.example.net', nil, OK, 'RFC 6125, 6.4.3' },
  { 'foobaz.example.net', 'DNS:*baz.example.net', nil, OK, 'RFC 6125, 6.4.3' },
  { 'buzz.example.net', 'DNS:b*z.example.net', nil, OK, 'RFC 6125, 6.4.3' },
  { 'bz.example.net', 'DNS:b*z.example.net', nil, OK, 'Node: the wildcard may stand for nothing inside a label' },
  { 'b.example.net', 'DNS:b*b.example.net', nil, ALT, 'Node: prefix and suffix do not overlap' },
  { 'foo.example.net', 'DNS:b*z.example.net', nil, ALT, 'RFC 6125, 6.4.3' },
  { 'foo.bar.example.net', 'DNS:*.example.net', nil, ALT, 'RFC 6125, 6.4.3: one label only' },
  { 'bar.example.net', 'DNS:bar.*.example.net', nil, ALT, 'RFC 6125, 6.4.3: left-most label only' },
  { 'bar.foo.example.net', 'DNS:bar.*.example.net', nil, ALT, 'RFC 6125, 6.4.3: left-most label only' },
  { 'a.b.c', 'DNS:a.*.c', nil, ALT, 'CVE-2015-1855: wildcards beyond the left-most label' },
  { 'a.b.c', 'DNS:a.b.*', nil, ALT, 'CVE-2015-1855: wildcards beyond the left-most label' },
  { 'a.b.c', 'DNS:*.*.c', nil, ALT, 'CVE-2015-1855: several wildcards' },
  { 'abc.a.com', 'DNS:**.a.com', nil, ALT, 'CVE-2015-1855: several wildcards in a label' },
  { 'abc.a.com', 'DNS:a*b*c.a.com', nil, ALT, 'CVE-2013-2099: several wildcards in a label' },
  { ('a'):rep(63) .. '.a.com', 'DNS:' .. ('*'):rep(63) .. 'b.a.com', nil, ALT, 'CVE-2013-2099: at no cost either' },
  { 'a.com', 'DNS:*a.com', nil, ALT, 'Node: no wildcard beside a top level' },
  { 'xa.com', 'DNS:*a.com', nil, ALT, 'Node: no wildcard beside a top level' },
  { 'xa.a.com', 'DNS:*a.a.com', nil, OK, 'RFC 6125, 6.4.3: part of a label' },
  { 'com', 'DNS:*', nil, ALT, 'RFC 6125, 7.2' },
  { '*.a.com', 'DNS:*.a.com', nil, OK, 'Node: a host may be spelt with a star' },
  { 'b.a.com', 'DNS:*.a.com.', nil, OK, 'RFC 1034, 3.1: absolute wildcard' },
  { 'b.a.com.', 'DNS:*.a.com', nil, OK, 'RFC 1034, 3.1: absolute host' },
  { 'b.a.com', 'DNS:*.A.com', nil, OK, GO },
  { 'b.a.com', 'DNS:*..a.com', nil, ALT, 'RFC 1034, 3.1: an empty label' },
  { 'b.a.com', 'DNS:.*.a.com', nil, ALT, 'RFC 1034, 3.1: an empty label' },
  { 'b.a.com', 'DNS:*.', nil, ALT, GO },
  { 'www.house.example', 'DNS:*.*.example', nil, ALT, CHROMIUM },
  { 'www.test.co.uk', 'DNS:*.co.uk', nil, ALT, CHROMIUM },
  { 'quux.us', 'DNS:*.us', nil, ALT, CHROMIUM },
  { 'foo.us', 'DNS:f*.us', nil, ALT, CHROMIUM },
  { '192.168.1.11', 'DNS:*.168.1.11', nil, IP '', CHROMIUM },
  { '192.168.1.11', 'DNS:192.168.1.11', nil, IP '', CHROMIUM },
  { '1.2.3.4', 'DNS:*.2.3.4', nil, IP '', 'CVE-2014-0139: wildcards and addresses' },
  { '1.2.3.4', 'DNS:*.3.4', nil, IP '', 'CVE-2014-0139: wildcards and addresses' },

  -- International names
  { 'xn--mnchen-3ya.de', 'DNS:xn--mnchen-3ya.de', nil, OK, 'RFC 9525, 6.3: A-labels are compared as ASCII' },
  { 'XN--MNCHEN-3YA.DE', 'DNS:xn--mnchen-3ya.de', nil, OK, 'RFC 9525, 6.3: and without case' },
  { 'xn--mnchen-3ya.a.de', 'DNS:*.a.de', nil, OK, 'RFC 6125, 6.4.3: a whole-label wildcard takes an A-label' },
  { 'xn--bcher-kva.example.com', 'DNS:xn--*.example.com', nil, ALT, 'CVE-2013-7440: no wildcard in an A-label' },
  { 'xn--bcher-kva.example.com', 'DNS:xn--b*.example.com', nil, ALT, 'CVE-2013-7440: no wildcard in an A-label' },
  { 'axn--b.example.com', 'DNS:*xn--b.example.com', nil, ALT, 'CVE-2013-7440: no wildcard in an A-label' },
  { 'xn--bcher-kva.example.com', 'DNS:x*.example.com', nil, OK, 'RFC 6125, 7.2, as Node: the pattern is no A-label' },
  { 'xn--tr-ska.xn--bcher-kva.de', 'DNS:*.xn--bcher-kva.de', nil, OK, 'RFC 6125, 6.4.3: A-labels further right' },
  { 'münchen.de', 'DNS:münchen.de', nil, ALT, 'RFC 9525, 6.3: a certificate has no U-labels' },
  { 'münchen.de', 'DNS:xn--mnchen-3ya.de', nil, ALT, 'Node: the host is not encoded here' },
  { 'a.com', 'DNS:\208\176.com', nil, ALT, 'RFC 6125, 7.3: a Cyrillic letter that looks Latin' },
  { 'a.com', nil, '\208\176.com', CN, 'RFC 6125, 7.3: a Cyrillic letter that looks Latin' },
  { 'k.com', 'DNS:\226\132\170.com', nil, ALT, 'RFC 6125, 7.3: the Kelvin sign is no k' },
  { 'a.com', 'DNS:\239\189\129.com', nil, ALT, 'RFC 6125, 7.3: nor is a full-width a an a' },
  { 'a\226\128\139.com', 'DNS:a.com', nil, ALT, 'RFC 6125, 7.3: a zero-width space counts' },
  { 'a\227\128\130com', 'DNS:a.com', nil, ALT, 'RFC 3490, 3.1: the ideographic full stop is no dot here' },

  -- URIs
  { 'a.b.a.com', 'URI:http://a.b.a.com/', nil, NONE, 'CVE-2021-44531: URIs do not name the host' },
  { 'a.b.a.com', 'URI:http://*.b.a.com/', nil, NONE, 'CVE-2021-44531: nor with wildcards' },
  { 'a.com', 'URI:http://a.com/, DNS:b.com', nil, ALT, 'CVE-2021-44531: beside DNS names' },
  { 'a.com', 'URI:http://b.com/, DNS:a.com', nil, OK, 'RFC 9525, 6.2' },
  { '127.0.0.1', 'URI:https://127.0.0.1/', nil, IP '', 'CVE-2021-44531: nor addresses' },

  -- Addresses
  { 'a.b.a.com', 'IP Address:127.0.0.1', nil, NONE, 'RFC 9525, 6.2: an address is no name' },
  { '127.0.0.1', 'IP Address:127.0.0.1', nil, OK, NODE_TEST },
  { '127.0.0.2', 'IP Address:127.0.0.1', nil, IP '127.0.0.1', NODE_TEST },
  { '127.0.0.1', 'DNS:a.com', nil, IP '', NODE_TEST },
  { '127.0.0.1', 'DNS:127.0.0.1', nil, IP '', 'RFC 9525, 6.5: an address as a DNS name is none' },
  { '8.8.8.8', 'DNS:dns.google, IP Address:8.8.4.4, IP Address:8.8.8.8', nil, OK, 'RFC 9525, 6.5: any of them' },
  { '8.8.8.9', 'IP Address:8.8.4.4, IP Address:8.8.8.8', nil, IP '8.8.4.4, 8.8.8.8', 'RFC 9525, 6.5' },
  { '::1', 'IP Address:0:0:0:0:0:0:0:1', nil, OK, 'RFC 4291, 2.2: spellings of one address' },
  { '0:0:0:0:0:0:0:1', 'IP Address:0:0:0:0:0:0:0:1', nil, OK, 'RFC 4291, 2.2' },
  { '0000:0::0001', 'IP Address:0:0:0:0:0:0:0:1', nil, OK, 'RFC 4291, 2.2: leading zeros' },
  { '2001:DB8::A', 'IP Address:2001:DB8:0:0:0:0:0:A', nil, OK, 'RFC 5952, 4.3: case' },
  { '2001:db8::a', 'IP Address:2001:DB8:0:0:0:0:0:B', nil, IP '2001:db8::b', 'RFC 5952' },
  { '::2', 'IP Address:0:0:0:0:0:0:0:1', nil, IP '::1', 'RFC 5952' },
  { '2001:db8:0:1:0:0:0:1', 'IP Address:2001:DB8:0:1:0:0:0:1', nil, OK, 'RFC 5952, 4.2.3: the longest run' },
  { '::ffff:127.0.0.1', 'IP Address:0:0:0:0:0:FFFF:7F00:1', nil, OK, 'RFC 4291, 2.5.5.2: dotted spelling' },
  { '::ffff:127.0.0.1', 'IP Address:127.0.0.1', nil, IP '127.0.0.1', 'RFC 9525, 6.5: the bytes differ' },
  { '127.0.0.1', 'IP Address:0:0:0:0:0:FFFF:7F00:1', nil, IP '::ffff:127.0.0.1', 'RFC 9525, 6.5: the bytes differ' },
  { '::127.0.0.1', 'IP Address:0:0:0:0:0:0:7F00:1', nil, OK, 'RFC 4291, 2.5.5.1' },
  { 'fe80::1%eth0', 'IP Address:FE80:0:0:0:0:0:0:1', nil, OK, 'RFC 6874: a zone is local' },
  { '127.0.0.1.', 'IP Address:127.0.0.1', nil, OK, 'Node: the dot goes before the address is seen' },
  { '127.1', 'IP Address:127.0.0.1', nil, NONE, 'Python bpo-37463: short spellings are names' },
  { '0x7f.0.0.1', 'IP Address:127.0.0.1', nil, NONE, 'Python bpo-37463: so are hexadecimal ones' },
  { '127.0.0.01', 'IP Address:127.0.0.1', nil, NONE, 'CVE-2021-29921: so are leading zeros' },
  { '2130706433', 'IP Address:127.0.0.1', nil, NONE, 'Python bpo-37463: so are plain numbers' },
  { '127.0.0.1 ', 'IP Address:127.0.0.1', nil, NONE, 'Python bpo-37463: and what has a blank behind' },
  { '127.0.0.1\0.com', 'IP Address:127.0.0.1', nil, NONE, 'CVE-2009-2408: NUL behind an address' },
  { '[::1]', 'IP Address:0:0:0:0:0:0:0:1', nil, NONE, 'RFC 3986, 3.2.2: brackets belong to the URI' },
  { '1.2.3.4', 'IP Address:<invalid length=5>', nil, IP '', 'RFC 5280, 4.2.1.6: four octets or sixteen' },
  { '1.2.3.4', 'IP Address:<invalid length=0>, IP Address:1.2.3.5', nil, IP ', 1.2.3.5', 'RFC 5280, 4.2.1.6' },
  { '10.0.0.1', 'IP Address:10.0.0.0/255.0.0.0', nil, IP '', 'RFC 5280, 4.2.1.10: a constraint is no address' },

  -- Lists that need quotes
  { 'a.com', 'DNS:"a.com"', nil, OK, 'RFC 8259, 7: a string without need' },
  { 'a.com', 'DNS:"b.com\\u002c DNS:a.com"', nil, ALT, 'CVE-2021-44532: a comma in a name' },
  { 'evil.com', 'DNS:good.com, DNS:"x\\u002c DNS:evil.com"', nil, ALT, 'CVE-2021-44532: a name in a name' },
  { 'good.com', 'DNS:good.com, DNS:"x\\u002c DNS:evil.com"', nil, OK, 'CVE-2021-44532: honest neighbours count' },
  { 'a.com', 'DNS:"a.com\\u0000.evil.com"', nil, ALT, 'CVE-2013-4238: NUL in an alternative name' },
  { 'a.com', 'DNS:"a.com\\u0000"', nil, ALT, 'CVE-2013-4073: NUL at the end' },
  { 'evil.com', 'URI:"http://x/\\u002c DNS:evil.com"', nil, NONE, 'CVE-2021-44532: a name in a URI' },
  { 'evil.com', 'DirName:"CN=a\\\\\\u002c DNS:evil.com"', nil, NONE, 'CVE-2021-44532: a name in a directory name' },
  { 'evil.com', 'othername:"UPN:x\\u002c DNS:evil.com", DNS:a.com', nil, ALT, 'CVE-2021-44532: in an other name' },
  { 'evil.com', 'email:"a\\"@b\\u002c DNS:evil.com"', nil, NONE, 'CVE-2021-44532: in a mail address' },
  { 'a.com', 'email:"x", DNS:a.com', nil, OK, 'CVE-2021-44532: what follows a string' },
  { 'a.com', 'DNS:"\\u0061.com"', nil, OK, 'RFC 8259, 7: escapes' },
  { 'a.com', 'DNS:"\\u0061\\u002e\\u0063om"', nil, OK, 'RFC 8259, 7: escapes' },
  { 'a"b.com', 'DNS:"a\\"b.com"', nil, OK, 'RFC 8259, 7: an escaped quote' },
  { 'a\\b.com', 'DNS:"a\\\\b.com"', nil, OK, 'RFC 8259, 7: an escaped backslash' },
  { 'a/b.com', 'DNS:"a\\/b.com"', nil, OK, 'RFC 8259, 7: an escaped slash' },
  { 'a.com', 'DNS:"\\u00e4.com"', nil, ALT, 'RFC 8259, 7: Latin-1' },
  { 'a.com', 'DNS:"\\ud83d\\ude00.com"', nil, ALT, 'RFC 8259, 7: two halves of a character' },
  { 'a.com', 'DNS:"\\n.com", DNS:a.com', nil, OK, 'RFC 8259, 7: short escapes' },
  { '1.2.3.4', 'IP Address:1.2.3.4, DNS:"x\\u002c IP Address:4.3.2.1"', nil, OK, 'CVE-2021-44532: addresses' },
  { '4.3.2.1', 'IP Address:1.2.3.4, DNS:"x\\u002c IP Address:4.3.2.1"', nil, IP '1.2.3.4', 'CVE-2021-44532' },
  { 'a.com', 'DNS:"a.com', nil, BROKEN, 'RFC 8259, 7: no end' },
  { 'a.com', 'DNS:"a.com\\', nil, BROKEN, 'RFC 8259, 7: half an escape' },
  { 'a.com', 'DNS:"a\\x.com"', nil, BROKEN, 'RFC 8259, 7: no such escape' },
  { 'a.com', 'DNS:"a\\u00g0.com"', nil, BROKEN, 'RFC 8259, 7: four digits' },
  { 'a.com', 'DNS:"a\\u00"', nil, BROKEN, 'RFC 8259, 7: four digits' },
  { 'a.com', 'DNS:"a\n.com"', nil, BROKEN, 'RFC 8259, 7: a bare control character' },
  { 'a.com', 'DNS:a.com, "', nil, BROKEN, 'RFC 8259, 7: a lone quote' },
  { 'a.com', "DNS:'a.com'", nil, ALT, 'Node: single quotes quote nothing' },
  { 'a.com', "DNS:'x, DNS:a.com'", nil, ALT, 'Node: single quotes hold nothing together' },
  { 'a.com', 'DNS:x,DNS:a.com', nil, ALT, 'Node: a list is split at comma and blank' },
  { 'a.com', 'DNS:b.com,  DNS:a.com', nil, ALT, 'Node: one blank' },
}

local function expected(case)
  local host, names, commonName, outcome = case[1]:gsub('%.$', ''), case[2], case[3], case[4]
  if outcome == OK or outcome == BROKEN then
    return nil
  elseif outcome == NONE then
    return 'Cert does not contain a DNS name'
  elseif outcome == ALT then
    return ("Host: %s. is not in the cert's altnames: %s"):format(host, names)
  elseif outcome == CN then
    commonName = type(commonName) == 'table' and table.concat(commonName, ',') or commonName
    return ("Host: %s. is not cert's CN: "):format(host) .. commonName
  end
  return ("IP: %s is not in the cert's list: %s"):format(host, outcome.list)
end

local function certificate(case)
  return { subjectaltname = case[2], subject = { CN = case[3] } }
end

local function title(i, case)
  local text = ('%d: %s, %s, %s: %s'):format(i, case[1], tostring(case[2]), tostring(case[3]), case[5])
  return (text:gsub('%c', '?'))
end

describe('checkServerIdentity', function()
  for i, case in ipairs(cases) do
    it(title(i, case), function()
      if case[4] == BROKEN then
        local ok, err = pcall(checkServerIdentity, case[1], certificate(case))
        assert.is_false(ok)
        assert.equal('ERR_TLS_CERT_ALTNAME_FORMAT', err.code)
        return
      end
      local err = checkServerIdentity(case[1], certificate(case))
      assert.equal(expected(case), err and err.reason)
    end)
  end

  it('says what was asked for and what came', function()
    local cert = { subjectaltname = 'DNS:b.com', subject = {} }
    local err = checkServerIdentity('a.com.', cert)
    assert.equal('ERR_TLS_CERT_ALTNAME_INVALID', err.code)
    assert.equal('a.com', err.host)
    assert.equal(cert, err.cert)
    assert.equal("Hostname/IP does not match certificate's altnames: Host: a.com. is not in the cert's altnames: "
      .. 'DNS:b.com', err.message)
    assert.equal('Error [ERR_TLS_CERT_ALTNAME_INVALID]: ' .. err.message, tostring(err))
  end)

  it('takes a certificate without a subject', function()
    assert.equal('Cert does not contain a DNS name', checkServerIdentity('a.com', {}).reason)
    assert.is_nil(checkServerIdentity('a.com', { subjectaltname = 'DNS:a.com' }))
  end)

  it('takes a host that is no string as its text', function()
    assert.is_nil(checkServerIdentity(5, { subject = { CN = '5' } }))
  end)

  it('wants a certificate', function()
    local ok, err = pcall(checkServerIdentity, 'a.com')
    assert.is_false(ok)
    assert.equal('ERR_INVALID_ARG_TYPE', err.code)
  end)
end)

local SCRIPT = [[
const { checkServerIdentity } = require('tls');
// Node 18 compares addresses as text and encodes host names; only plain names are judged as today.
const older = parseInt(process.versions.node) < 20;
const text = (s) => s && Buffer.from(s, 'latin1').toString();
for (const [host, names, cn] of JSON.parse(require('fs').readFileSync(0))) {
  if (older && !/^(?!\d)(?=.*[a-z])[\w.-]+$/i.test(text(host))) {
    console.log(Buffer.from('another rule').toString('hex'));
    continue;
  }
  const common = Array.isArray(cn) ? cn.map(text) : text(cn);
  let reason;
  try {
    const err = checkServerIdentity(text(host) ?? host, { subjectaltname: text(names) ?? undefined,
      subject: { CN: common ?? undefined } });
    reason = err ? err.reason : 'ok';
  } catch (err) {
    reason = err.code;
  }
  console.log(Buffer.from(reason).toString('hex'));
}
]]

-- Every byte is one character of the JSON text; the script puts them together again.
local function json(value)
  if value == nil then
    return 'null'
  elseif type(value) == 'table' then
    local parts = {}
    for i, each in ipairs(value) do
      parts[i] = json(each)
    end
    return '[' .. table.concat(parts, ',') .. ']'
  end
  return '"' .. value:gsub('.', function(char)
    return ('\\u%04x'):format(char:byte())
  end) .. '"'
end

if hasSpec and spec.available('node') then
  describe('Node', function()
    it('agrees in every case', spec.async(function(_, expect)
      local lines = {}
      for i, case in ipairs(cases) do
        lines[i] = ('[%s,%s,%s]'):format(json(case[1]), json(case[2]), json(case[3]))
      end
      spec.command({ 'node', '-e', SCRIPT }, { input = '[' .. table.concat(lines, ',') .. ']' },
        expect(function(status, out, err)
          assert.equal(0, status, err)
          local i = 0
          for hex in out:gmatch('%x*') do
            if hex ~= '' then
              i = i + 1
              local theirs = hex:gsub('%x%x', function(pair)
                return string.char(tonumber(pair, 16))
              end)
              local ours = cases[i][4] == BROKEN and 'ERR_TLS_CERT_ALTNAME_FORMAT' or expected(cases[i]) or 'ok'
              if (theirs ~= 'another rule') then
                assert.equal(theirs, ours, title(i, cases[i]))
              end
            end
          end
          assert.equal(#cases, i)
        end))
    end))
  end)
end
