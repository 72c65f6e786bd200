// A DNS server on a free loopback port, UDP and TCP, for specs. Prints "<port> <pid>" when it is ready and ends by
// itself after a minute at the latest.
//
// The zone is below. Names that are not in it do not exist; fail.test answers SERVFAIL, silent.test says nothing,
// large.test is too large for UDP and so is truncated there.
'use strict';
const dgram = require('dgram');
const net = require('net');

const A = 1, AAAA = 28, PTR = 12;
const zone = {
  'both.test': [[A, 60, '127.0.0.2'], [AAAA, 61, '::1']],
  'four.test': [[A, 62, '127.0.0.3'], [A, 63, '127.0.0.4']],
  'six.test': [[AAAA, 64, '::1']],
  '9.0.0.127.in-addr.arpa': [[PTR, 65, 'nine.test']],
  'large.test': Array.from({ length: 100 }, (_, i) => [A, 66, `127.0.1.${i + 1}`]),
};

function encodeName(name) {
  const labels = name.split('.').map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)]));
  return Buffer.concat([...labels, Buffer.from([0])]);
}

function encodeData(type, text) {
  if (type === PTR) return encodeName(text);
  if (type === A) return Buffer.from(text.split('.').map(Number));
  const ip = Buffer.alloc(16);
  ip[15] = 1; // "::1" is all that is needed
  return ip;
}

function encodeRecord([type, ttl, text]) {
  const data = encodeData(type, text);
  const head = Buffer.alloc(12);
  head.writeUInt16BE(0xc00c, 0); // the name: see the question
  head.writeUInt16BE(type, 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt32BE(ttl, 6);
  head.writeUInt16BE(data.length, 10);
  return Buffer.concat([head, data]);
}

// The answer to a query packet, or nothing.
function answer(query, overUdp) {
  const labels = [];
  let at = 12;
  while (query[at] !== 0) {
    labels.push(query.toString('latin1', at + 1, at + 1 + query[at]));
    at += 1 + query[at];
  }
  const name = labels.join('.').toLowerCase();
  const type = query.readUInt16BE(at + 1);
  if (name === 'silent.test') return undefined;
  const truncated = overUdp && name === 'large.test';
  const records = (zone[name] || []).filter((record) => !truncated && record[0] === type);
  let rcode = zone[name] ? 0 : 3;
  if (name === 'fail.test') rcode = 2;
  const head = Buffer.from(query.subarray(0, 12));
  head[2] = 0x81 | (truncated ? 2 : 0); // a response, recursion desired
  head[3] = 0x80 | rcode;
  head.writeUInt16BE(records.length, 6);
  head.fill(0, 8);
  return Buffer.concat([head, query.subarray(12, at + 5), ...records.map(encodeRecord)]);
}

function serveTcp(socket) {
  let got = Buffer.alloc(0);
  socket.on('error', () => {});
  socket.on('data', (chunk) => {
    got = Buffer.concat([got, chunk]);
    while (got.length >= 2 && got.length >= 2 + got.readUInt16BE(0)) {
      const end = 2 + got.readUInt16BE(0);
      const reply = answer(got.subarray(2, end), false);
      got = got.subarray(end);
      if (!reply) continue;
      const length = Buffer.alloc(2);
      length.writeUInt16BE(reply.length, 0);
      socket.write(Buffer.concat([length, reply]));
    }
  });
}

// UDP and TCP have to have the same number: when the one that UDP got is taken for TCP, another is tried.
function listen() {
  const udp = dgram.createSocket('udp4');
  udp.on('message', (query, from) => {
    const reply = answer(query, true);
    if (reply) udp.send(reply, from.port, from.address);
  });
  udp.bind(0, '127.0.0.1', () => {
    const { port } = udp.address();
    const tcp = net.createServer(serveTcp);
    tcp.on('error', () => udp.close(listen));
    tcp.listen(port, '127.0.0.1', () => console.log(`${port} ${process.pid}`));
  });
}

listen();
setTimeout(() => process.exit(1), 60000);
