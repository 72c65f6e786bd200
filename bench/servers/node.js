'use strict';
// usage: node node.js PORT CERTIFICATE_DIR BULK_MIB [CALLBACKS]: the work of ../ceiling.c on Node's tls. On the fourth
// port CALLBACKS take part in the handshake: sni, sessions, ocsp, or all of them.
const fs = require('fs');
const tls = require('tls');
const common = require('./common');

const { port, dir, bulkSize, reply, zeros } = common;
const bulkHeader = `HTTP/1.1 200 OK\r\nContent-Length: ${bulkSize}\r\n\r\n`;

function sendBulk(socket) {
  let left = bulkSize;
  socket.write(bulkHeader);
  const more = () => {
    while (left > 0) {
      const size = Math.min(left, zeros.length);
      left -= size;
      if (!socket.write(size === zeros.length ? zeros : zeros.subarray(0, size)) && left > 0) {
        socket.once('drain', more);
        return;
      }
    }
  };
  more();
}

// The load has one request of one packet under way per connection, so a chunk is a request.
function answer(socket) {
  socket.setNoDelay(true);
  socket.on('error', () => {});
  socket.on('data', (chunk) => {
    if (chunk[5] === 0x62) sendBulk(socket); // "GET /b"
    else socket.write(reply);
  });
}

function echo(socket) {
  socket.setNoDelay(true);
  socket.on('error', () => {});
  socket.pipe(socket);
}

// Callbacks in the handshake.

const GENERATION = 4096; // sessions

function identity(type) {
  return { ...common.identity(type), ecdhCurve: 'X25519' };
}

function chooseByName(options) {
  const contexts = new Map([['localhost', tls.createSecureContext(identity('chain'))]]);
  options.SNICallback = (servername, callback) => callback(null, contexts.get(servername));
}

function keepSessions(server) {
  let young = new Map();
  let old = new Map();
  server.on('newSession', (id, data, callback) => {
    if (young.size === GENERATION) [young, old] = [new Map(), young];
    young.set(id.toString('latin1'), data);
    callback();
  });
  server.on('resumeSession', (id, callback) => {
    const key = id.toString('latin1');
    callback(null, young.get(key) || old.get(key));
  });
}

function staple(server) {
  const response = fs.readFileSync(`${dir}/chain.ocsp`);
  server.on('OCSPRequest', (certificate, issuer, callback) => callback(null, response));
}

// Listening.

function listen(options, offset, listener) {
  return tls.createServer(options, listener).listen(port + offset, '127.0.0.1', 4096);
}

function listenWith(callbacks, offset, listener) {
  const all = callbacks === 'all';
  const options = identity('chain');
  if (all || callbacks === 'sni') chooseByName(options);
  const server = listen(options, offset, listener);
  if (all || callbacks === 'sessions') keepSessions(server);
  if (all || callbacks === 'ocsp') staple(server);
}

listen(identity('ecdsa'), 0, answer);
listen(identity('rsa'), 1, answer);
listen(identity('ecdsa'), 2, echo);
listenWith(process.argv[5], 3, answer);
