'use strict';
// usage: node node.js PORT CERTIFICATE_DIR BULK_MIB: the work of ../ceiling.c on Node's tls.
const fs = require('fs');
const tls = require('tls');

const port = Number(process.argv[2]);
const dir = process.argv[3];
const bulkSize = Number(process.argv[4]) * 1024 * 1024;

const reply = Buffer.from('HTTP/1.1 200 OK\r\n' +
  'Content-Type: text/plain\r\n' +
  'Content-Length: 14\r\n' +
  'Connection: keep-alive\r\n' +
  '\r\n' +
  'Hello, world!\n');
const bulkHeader = `HTTP/1.1 200 OK\r\nContent-Length: ${bulkSize}\r\n\r\n`;
const zeros = Buffer.alloc(256 * 1024);

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

function listen(type, offset, listener) {
  const options = {
    key: fs.readFileSync(`${dir}/${type}.key`),
    cert: fs.readFileSync(`${dir}/${type}.crt`),
    ecdhCurve: 'X25519',
  };
  tls.createServer(options, listener).listen(port + offset, '127.0.0.1', 4096);
}

listen('ecdsa', 0, answer);
listen('rsa', 1, answer);
listen('ecdsa', 2, echo);
