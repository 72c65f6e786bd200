// A server that breaks the rules of TLS 1.3 with each client: CERT=… KEY=… node hostile_server.js SCENARIO
//
// It prints "port=…" when it listens.
'use strict';
const crypto = require('crypto');
const net = require('net');
const { Server, TYPE, MESSAGE, u8, u16, cat, vec8, vec16, vec24, extension, message } = require('./tls13.js');

const der = new crypto.X509Certificate(process.env.CERT).raw;
const NOTHING = Buffer.alloc(0);
const text = (length) => Buffer.alloc(length, 'x');

function times(count, act) {
  for (let i = 0; i < count; i++) act(i);
}

function ticket(length, lifetime = 7200) {
  const numbers = Buffer.alloc(8);
  numbers.writeUInt32BE(lifetime);
  return message(MESSAGE.newSessionTicket, numbers, vec8(crypto.randomBytes(8)), vec16(crypto.randomBytes(length)),
    vec16());
}

function extensions(...list) {
  return message(MESSAGE.encryptedExtensions, vec16(...list));
}

function finish(server) {
  server.send(TYPE.alert, Buffer.from([1, 0]));
  server.socket.end();
}

const certificateRequest = (context) =>
  message(MESSAGE.certificateRequest, vec8(context), vec16(extension(13, vec16(u16(0x0403)))));

// name: { act(server) once the handshake is over, and options of Server }
const SCENARIOS = {
  tickets: { act: (s) => { times(1000, () => s.send(TYPE.handshake, ticket(100))); finish(s); } },
  joinedTickets: {
    act: (s) => { s.send(TYPE.handshake, cat(...Array.from({ length: 50 }, () => ticket(100)))); finish(s); },
  },
  longTicket: {
    act: (s) => {
      const whole = ticket(60000);
      for (let i = 0; i < whole.length; i += 16000) s.send(TYPE.handshake, whole.subarray(i, i + 16000));
      finish(s);
    },
  },
  dataAfterClose: {
    act: (s) => { s.send(TYPE.alert, Buffer.from([1, 0])); s.send(TYPE.data, text(1000)); s.socket.end(); },
  },
  allAtOnce: { behind: (s) => { s.send(TYPE.data, text(1000)); finish(s); } },
  emptyTicket: { act: (s) => s.send(TYPE.handshake, ticket(0)) },
  cutTicket: { act: (s) => s.send(TYPE.handshake, message(MESSAGE.newSessionTicket, text(5))) },
  postHandshakeAuth: { act: (s) => s.send(TYPE.handshake, certificateRequest(text(8))) },
  helloRequest: { act: (s) => s.send(TYPE.handshake, message(0)) },
  secondServerHello: { act: (s) => s.send(TYPE.handshake, message(MESSAGE.serverHello, text(50))) },
  warningFlood: { act: (s) => times(100, () => s.send(TYPE.alert, Buffer.from([1, 90]))) },
  emptyRecordFlood: { act: (s) => times(1000, () => s.send(TYPE.data, NOTHING)) },
  badFinished: { finished: message(MESSAGE.finished, text(32)) },
  badSignature: { verify: message(MESSAGE.certificateVerify, u16(0x0403), vec16(text(70))) },
  noCertificate: { chain: [] },
  garbageCertificate: { chain: [text(500)] },
  cutCertificate: { chain: [der.subarray(0, 300)] },
  emptyStaple: { certificateExtra: [extension(5, u8(1), vec24())] },
  longChain: { chain: [der, ...Array.from({ length: 1000 }, () => der)] },
  unknownProtocol: { encryptedExtensions: extensions(extension(16, vec16(vec8(Buffer.from('xxx'))))) },
  twoProtocols: {
    encryptedExtensions: extensions(extension(16, vec16(vec8(Buffer.from('h2')), vec8(Buffer.from('h3'))))),
  },
  doubleExtension: { encryptedExtensions: extensions(extension(0), extension(0)) },
  unknownSuite: { suite: 0x1399 },
  unaskedPsk: { helloExtra: [extension(41, u16(0))] },
};

const scenario = SCENARIOS[process.argv[2]];
const listener = net.createServer((socket) => {
  const options = { chain: [der], key: process.env.KEY, ...scenario };
  const server = new Server(socket, options, () => scenario.act && scenario.act(server));
});
listener.listen(0, '127.0.0.1', () => console.log(`port=${listener.address().port}`));
