// Node's TLS server as a peer of specs: echoes, and prints "name=value" facts of each connection. Environment:
//
//   CERT, KEY, CA           PEMs
//   OTHER_CERT, OTHER_KEY   served under the name OTHER_NAME
//   ALPN                    names with commas between
//   MAX_VERSION             "TLSv1.2"
//   TICKET_KEYS             48 bytes, in hexadecimal digits
//   SESSION_ID_CONTEXT      a string
//   STAPLE                  the OCSP response, in hexadecimal digits; "none" answers with none
//   PSK, IDENTITY, HINT     a pre-shared key in hexadecimal, and whose it is; CIPHERS to go with it
//   REQUEST_CERT=yes        asks for client certificates; REJECT=no takes bad ones too
//
// Prints "port=…" when it listens. It ends when its standard input does.
'use strict';
const tls = require('tls');

const env = process.env;

function tell(name, value) {
  console.log(`${name}=${value}`);
}

const server = tls.createServer({
  cert: env.CERT,
  key: env.KEY,
  ca: env.CA || undefined,
  ciphers: env.CIPHERS || undefined,
  pskCallback: env.PSK ? (socket, identity) => (identity === env.IDENTITY ? Buffer.from(env.PSK, 'hex') : null)
    : undefined,
  pskIdentityHint: env.HINT || undefined,
  maxVersion: env.MAX_VERSION || undefined,
  ALPNProtocols: env.ALPN ? env.ALPN.split(',') : undefined,
  ticketKeys: env.TICKET_KEYS ? Buffer.from(env.TICKET_KEYS, 'hex') : undefined,
  sessionIdContext: env.SESSION_ID_CONTEXT || undefined,
  requestCert: env.REQUEST_CERT === 'yes',
  rejectUnauthorized: env.REJECT !== 'no',
}, (socket) => {
  tell('servername', socket.servername);
  tell('protocol', socket.getProtocol());
  tell('alpn', socket.alpnProtocol);
  tell('reused', socket.isSessionReused());
  tell('authorized', socket.authorized);
  tell('cn', (socket.getPeerCertificate().subject || {}).CN);
  socket.on('error', (err) => tell('error', err.code));
  socket.pipe(socket);
});
server.on('tlsClientError', (err) => tell('tlsClientError', err.code));
if (env.STAPLE) {
  server.on('OCSPRequest', (certificate, issuer, callback) => {
    tell('issuer', issuer && issuer.toString('hex'));
    callback(null, env.STAPLE === 'none' ? null : Buffer.from(env.STAPLE, 'hex'));
  });
}
if (env.OTHER_NAME) {
  server.addContext(env.OTHER_NAME, { cert: env.OTHER_CERT, key: env.OTHER_KEY });
}
server.listen(0, '127.0.0.1', () => tell('port', server.address().port));
process.stdin.on('end', () => process.exit(0)).resume();
