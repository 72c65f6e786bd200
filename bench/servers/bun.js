'use strict';
// usage: bun bun.js PORT CERTIFICATE_DIR BULK_MIB: the work of ../ceiling.c on Bun's own sockets, which are quicker than
// its node:tls. Sockets write what the kernel takes; the rest waits for `drain`.
const { port, bulkSize, reply, zeros, identity } = require('./common');

const bulkHeader = Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: ${bulkSize}\r\n\r\n`);

function sendBulk(socket) {
  while (socket.data.left > 0) {
    const size = Math.min(socket.data.left, zeros.length);
    const taken = socket.write(zeros, 0, size);
    socket.data.left -= Math.max(taken, 0);
    if (taken < size) return;
  }
}

// The load has one request of one packet under way per connection, so a chunk is a request; and what answers it is
// small enough for the kernel's buffer, which is empty then.
const answering = {
  open(socket) {
    socket.data = { left: 0 };
    socket.setNoDelay(true);
  },
  data(socket, chunk) {
    if (chunk[5] === 0x62) { // "GET /b"
      socket.write(bulkHeader);
      socket.data.left = bulkSize;
      sendBulk(socket);
    } else {
      socket.write(reply);
    }
  },
  drain: sendBulk,
  error() {},
};

// What is not taken at once is kept, in order.
const echoing = {
  open(socket) {
    socket.data = { waiting: [] };
    socket.setNoDelay(true);
  },
  data(socket, chunk) {
    const { waiting } = socket.data;
    const taken = waiting.length ? 0 : Math.max(socket.write(chunk), 0);
    if (taken < chunk.length) waiting.push(Buffer.from(chunk.subarray(taken)));
  },
  drain(socket) {
    const { waiting } = socket.data;
    while (waiting.length) {
      const taken = Math.max(socket.write(waiting[0]), 0);
      if (taken < waiting[0].length) {
        waiting[0] = waiting[0].subarray(taken);
        return;
      }
      waiting.shift();
    }
  },
  error() {},
};

function listen(type, offset, socket) {
  Bun.listen({ hostname: '127.0.0.1', port: port + offset, tls: identity(type), socket });
}

listen('ecdsa', 0, answering);
listen('rsa', 1, answering);
listen('ecdsa', 2, echoing);
