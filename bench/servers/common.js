'use strict';
// What the servers in JavaScript share: their arguments, PORT CERTIFICATE_DIR BULK_MIB, and what they answer.
const fs = require('fs');

const [, , port, dir, bulkMib] = process.argv;

module.exports = {
  port: Number(port),
  dir,
  bulkSize: Number(bulkMib) * 1024 * 1024,
  reply: Buffer.from('HTTP/1.1 200 OK\r\n' +
    'Content-Type: text/plain\r\n' +
    'Content-Length: 14\r\n' +
    'Connection: keep-alive\r\n' +
    '\r\n' +
    'Hello, world!\n'),
  zeros: Buffer.alloc(256 * 1024),
  identity: (type) => ({ key: fs.readFileSync(`${dir}/${type}.key`), cert: fs.readFileSync(`${dir}/${type}.crt`) }),
};
