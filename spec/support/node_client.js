// Node's TLS client as a peer of specs. What it is to do comes in the environment:
//
//   PORT, CA, CERT, KEY     the server's port; PEMs
//   SERVERNAME, ALPN        a name; names with commas between
//   MAX_VERSION             "TLSv1.2"
//   REJECT=no               rejectUnauthorized: false
//   OCSP=yes                requestOCSP; what comes is told in hexadecimal digits
//   PSK, IDENTITY           a pre-shared key in hexadecimal, and whose it is; CIPHERS to go with it
//   RESUME=yes              connects a second time with the session of the first
//
// It sends "hello from node" and waits for the same, and prints facts as "name=value" lines.
'use strict';
const tls = require('tls');

const env = process.env;
const MESSAGE = 'hello from node';

function tell(name, value) {
  console.log(`${name}=${value}`);
}

function keyOptions() {
  return {
    pskCallback(hint) {
      tell('hint', hint);
      return { psk: Buffer.from(env.PSK, 'hex'), identity: env.IDENTITY };
    },
    checkServerIdentity() {},
  };
}

function visit(session, done) {
  const socket = tls.connect({
    host: '127.0.0.1',
    port: Number(env.PORT),
    servername: env.SERVERNAME || 'localhost',
    ca: env.CA,
    ciphers: env.CIPHERS || undefined,
    ...(env.PSK ? keyOptions() : {}),
    cert: env.CERT,
    key: env.KEY,
    maxVersion: env.MAX_VERSION || undefined,
    ALPNProtocols: env.ALPN ? env.ALPN.split(',') : undefined,
    rejectUnauthorized: env.REJECT !== 'no',
    requestOCSP: env.OCSP === 'yes',
    session,
  });
  let got = '';
  let latest;
  socket.on('secureConnect', () => {
    tell('authorized', socket.authorized);
    tell('authorizationError', socket.authorizationError);
    tell('protocol', socket.getProtocol());
    tell('alpn', socket.alpnProtocol);
    tell('reused', socket.isSessionReused());
    tell('cn', (socket.getPeerCertificate().subject || {}).CN);
    socket.write(MESSAGE);
  });
  socket.on('OCSPResponse', (response) => tell('ocsp', response && response.toString('hex')));
  socket.on('session', (given) => {
    latest = given;
  });
  socket.setEncoding('utf8');
  socket.on('data', (chunk) => {
    got += chunk;
    if (got.length >= MESSAGE.length) socket.end();
  });
  socket.on('error', (err) => tell('error', err.code));
  socket.on('close', (hadError) => {
    tell('echo', got);
    tell('closed', hadError ? 'with an error' : 'well');
    done(latest);
  });
}

visit(undefined, (session) => {
  if (env.RESUME === 'yes') visit(session, () => {});
});
