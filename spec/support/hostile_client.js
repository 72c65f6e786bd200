// A client that breaks the rules of TLS 1.3: node hostile_client.js PORT SCENARIO
//
// It ends when the server has closed the connection, or has sent as many bytes as the scenario wants, and prints what
// it saw as "name=value" lines: data (bytes), alerts (numbers), updates (KeyUpdates of the server).
'use strict';
const { Client, TYPE, MESSAGE, u8, cat, vec8, vec16, vec24, extension, message, record, serverName } =
  require('./tls13.js');

const NOTHING = Buffer.alloc(0);
const text = (length) => Buffer.alloc(length, 'x');
const alert = (level, number) => Buffer.from([level, number]);
const update = (value) => message(MESSAGE.keyUpdate, u8(value));

function times(count, act) {
  for (let i = 0; i < count; i++) act(i);
}

const protocols = (name) => extension(16, vec16(vec8(Buffer.from(name))));

function retried(second) {
  return { share: false, extra: [protocols('h2')], second, wants: 100, act: (c) => c.send(TYPE.data, text(100)) };
}

// name: { wants: bytes of echo, act(client) once the handshake is over, and options of Client }
const SCENARIOS = {
  // What is unusual but allowed.
  helloInBytes: { helloStep: 1, wants: 100, act: (c) => c.send(TYPE.data, text(100)) },
  finishedInBytes: { finishedStep: 1, wants: 100, act: (c) => c.send(TYPE.data, text(100)) },
  hugeHello: { extra: Array.from({ length: 9000 }, (_, i) => extension(0x4000 + i)), wants: 100,
    act: (c) => c.send(TYPE.data, text(100)) },
  keyUpdates: { wants: 100, act: (c) => { times(100, () => c.raw(c.keyUpdate(true))); c.send(TYPE.data, text(100)); } },
  emptyRecords: { wants: 1, act: (c) => { times(30, () => c.send(TYPE.data, NOTHING)); c.send(TYPE.data, text(1)); } },
  byteRecords: { wants: 20000, act: (c) => times(20000, () => c.send(TYPE.data, text(1))) },
  padding: { wants: 50, act: (c) => times(50, () => c.send(TYPE.data, text(1), 16000)) },
  // Names.
  nameWithNul: { serverName: serverName('local\0host') },
  nameEmpty: { serverName: serverName('') },
  nameTooLong: { serverName: serverName('a'.repeat(256)) },
  twoNames: { serverName: serverName('localhost', 'other') },
  noNames: { serverName: extension(0, vec16()) },
  // ALPN lists.
  alpnEmpty: { extra: [extension(16)] },
  alpnEmptyName: { extra: [extension(16, vec16(vec8()))] },
  alpnCut: { extra: [extension(16, vec16(u8(9), text(2)))] },
  // A second hello that is not the first one with a key share (RFC 8446, 4.1.2). All say which protocols they know.
  secondHonest: retried({}),
  secondOtherName: retried({ serverName: serverName('other') }),
  secondNoProtocols: retried({ extra: [] }),
  secondOtherProtocols: retried({ extra: [protocols('http/1.1')] }),
  secondNoShare: retried({ share: false }),
  secondOtherSuite: retried({ suite: 0x1302 }),
  secondOtherVersion: retried({ version: 0x0303 }),
  secondEarlyData: retried({ extra: [protocols('h2'), extension(42)] }),
  // The handshake.
  badFinished: { finished: message(MESSAGE.finished, text(32)) },
  longFinished: { finished: message(MESSAGE.finished, text(320)) },
  // Floods.
  emptyRecordFlood: { act: (c) => times(1000, () => c.send(TYPE.data, NOTHING)) },
  warningFlood: { act: (c) => times(100, () => c.send(TYPE.alert, alert(1, 90))) },
  plainCcsFlood: { act: (c) => times(1000, () => c.raw(record(TYPE.ccs, u8(1)))) },
  // Records and messages out of place or shape.
  onlyPadding: { act: (c) => c.raw(c.writer.seal(Buffer.alloc(100))) },
  emptyInner: { act: (c) => c.raw(c.writer.seal(NOTHING)) },
  tooLong: { act: (c) => c.send(TYPE.data, text(16385)) },
  tooLongPadded: { act: (c) => c.send(TYPE.data, text(16384), 300) },
  replayed: { act: (c) => { const bytes = c.sealed(TYPE.data, text(10)); c.raw(bytes).raw(bytes); } },
  flipped: { act: (c) => { const bytes = c.sealed(TYPE.data, text(1000)); bytes[100] ^= 1; c.raw(bytes); } },
  plainData: { act: (c) => c.raw(record(TYPE.data, text(40))) },
  plainAlert: { act: (c) => c.raw(record(TYPE.alert, alert(1, 0))) },
  plainHello: { act: (c) => c.raw(record(TYPE.handshake, c.hello)) },
  secondHello: { act: (c) => c.send(TYPE.handshake, c.hello) },
  secondFinished: { act: (c) => c.send(TYPE.handshake, message(MESSAGE.finished, text(32))) },
  certificate: { act: (c) => c.send(TYPE.handshake, message(MESSAGE.certificate, vec8(), vec24())) },
  unknownMessage: { act: (c) => c.send(TYPE.handshake, message(99, text(1000))) },
  hugeMessage: { act: (c) => c.send(TYPE.handshake, cat(u8(MESSAGE.keyUpdate), text(1000))) },
  unknownType: { act: (c) => c.send(99, text(10)) },
  badKeyUpdate: { act: (c) => c.send(TYPE.handshake, update(7)) },
  cutKeyUpdate: { act: (c) => { c.send(TYPE.handshake, update(1).subarray(0, 3)); c.send(TYPE.data, text(10)); } },
  joinedKeyUpdates: { act: (c) => c.send(TYPE.handshake, cat(update(0), update(0))) },
  twoAlerts: { act: (c) => c.send(TYPE.alert, cat(alert(1, 0), alert(1, 0))) },
  emptyAlert: { act: (c) => c.send(TYPE.alert, NOTHING) },
  // After the end.
  dataAfterClose: {
    act: (c) => { c.send(TYPE.alert, alert(1, 0)); c.send(TYPE.data, text(1000)); c.raw(text(100000)); },
  },
  dataAfterFatal: { act: (c) => { c.send(TYPE.alert, alert(2, 40)); c.send(TYPE.data, text(1000)); } },
};

const [port, name] = process.argv.slice(2);
const scenario = SCENARIOS[name];
const client = new Client(Number(port), scenario, () => {
  if (scenario.act) scenario.act(client);
});
client.socket.on('data', () => {
  if (scenario.wants && client.seen.data >= scenario.wants) client.socket.destroy();
});
client.socket.on('close', () => {
  console.log(`data=${client.seen.data}`);
  console.log(`alerts=${client.seen.alerts.join(',')}`);
  console.log(`updates=${client.seen.messages[MESSAGE.keyUpdate] || 0}`);
});
