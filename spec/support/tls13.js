// A TLS 1.3 peer that says whatever it is told to (RFC 8446): TLS_AES_128_GCM_SHA256 over x25519 and nothing else.
// It checks nothing. hostile_client.js and hostile_server.js drive it record by record.
'use strict';
const crypto = require('crypto');
const net = require('net');

const TYPE = { ccs: 20, alert: 21, handshake: 22, data: 23 };
const MESSAGE = { clientHello: 1, serverHello: 2, newSessionTicket: 4, encryptedExtensions: 8, certificate: 11,
  certificateRequest: 13, certificateVerify: 15, finished: 20, keyUpdate: 24 };

const u8 = (n) => Buffer.from([n]);
const u16 = (n) => Buffer.from([n >> 8, n & 255]);
const u24 = (n) => Buffer.from([n >> 16, (n >> 8) & 255, n & 255]);
const cat = (...parts) => Buffer.concat(parts);
const vec8 = (...parts) => cat(u8(cat(...parts).length), ...parts);
const vec16 = (...parts) => cat(u16(cat(...parts).length), ...parts);
const vec24 = (...parts) => cat(u24(cat(...parts).length), ...parts);
const extension = (type, ...body) => cat(u16(type), vec16(...body));
const message = (type, ...body) => cat(u8(type), vec24(...body));

// An unencrypted record.
const record = (type, body, version = 0x0303) => cat(u8(type), u16(version), u16(body.length), body);

const serverName = (...names) => extension(0, vec16(...names.map((name) => cat(u8(0), vec16(Buffer.from(name))))));

const hash = (data) => crypto.createHash('sha256').update(data).digest();
const hmac = (key, data) => crypto.createHmac('sha256', key).update(data).digest();

function expand(secret, label, context, length) {
  const info = cat(u16(length), vec8(Buffer.from('tls13 ' + label)), vec8(context));
  return hmac(secret, cat(info, u8(1))).subarray(0, length);
}

// The random of a HelloRetryRequest (RFC 8446, 4.1.3).
const RETRY = hash(Buffer.from('HelloRetryRequest'));

const NOTHING = Buffer.alloc(0);
const ZEROS = Buffer.alloc(32);

// One direction's keys.
class Keys {
  constructor(secret) {
    this.secret = secret;
    this.key = expand(secret, 'key', NOTHING, 16);
    this.iv = expand(secret, 'iv', NOTHING, 12);
    this.count = 0;
  }

  next() {
    return new Keys(expand(this.secret, 'traffic upd', NOTHING, 32));
  }

  nonce() {
    const nonce = Buffer.from(this.iv);
    nonce.writeUInt32BE((nonce.readUInt32BE(8) ^ this.count++) >>> 0, 8);
    return nonce;
  }

  // `inner`: content, type and padding.
  seal(inner) {
    const header = cat(u8(TYPE.data), u16(0x0303), u16(inner.length + 16));
    const cipher = crypto.createCipheriv('aes-128-gcm', this.key, this.nonce());
    cipher.setAAD(header);
    return cat(header, cipher.update(inner), cipher.final(), cipher.getAuthTag());
  }

  open(header, body) {
    const decipher = crypto.createDecipheriv('aes-128-gcm', this.key, this.nonce());
    decipher.setAAD(header);
    decipher.setAuthTag(body.subarray(-16));
    const inner = cat(decipher.update(body.subarray(0, -16)), decipher.final());
    let end = inner.length;
    while (inner[end - 1] === 0) end--;
    return { type: inner[end - 1], body: inner.subarray(0, end - 1) };
  }
}

// Keys and records of either role; the roles say in which order things come.
class Peer {
  constructor(socket, isServer) {
    this.socket = socket;
    this.isServer = isServer;
    this.input = NOTHING;
    this.messages = NOTHING;
    this.transcript = NOTHING;
    this.seen = { data: 0, alerts: [], messages: {}, records: 0 };
    const { publicKey, privateKey } = crypto.generateKeyPairSync('x25519');
    this.privateKey = privateKey;
    this.share = publicKey.export({ type: 'spki', format: 'der' }).subarray(-32);
    socket.on('data', (chunk) => this.receive(chunk));
    socket.on('error', (err) => { this.error = err.code; });
  }

  receive(chunk) {
    this.input = cat(this.input, chunk);
    while (this.input.length >= 5 && this.input.length >= 5 + this.input.readUInt16BE(3)) {
      const length = this.input.readUInt16BE(3);
      const header = this.input.subarray(0, 5);
      const body = this.input.subarray(5, 5 + length);
      this.input = this.input.subarray(5 + length);
      this.seen.records++;
      if (header[0] === TYPE.data && this.reader) {
        const inner = this.reader.open(header, body);
        this.take(inner.type, inner.body);
      } else {
        this.take(header[0], body);
      }
    }
  }

  take(type, body) {
    if (type === TYPE.alert) this.seen.alerts.push(body[1]);
    if (type === TYPE.data) this.seen.data += body.length;
    if (type !== TYPE.handshake) return;
    this.messages = cat(this.messages, body);
    while (this.messages.length >= 4) {
      const length = 4 + this.messages.readUIntBE(1, 3);
      if (this.messages.length < length) return;
      const whole = this.messages.subarray(0, length);
      this.messages = this.messages.subarray(length);
      this.seen.messages[whole[0]] = (this.seen.messages[whole[0]] || 0) + 1;
      if (whole[0] === MESSAGE.keyUpdate) this.reader = this.reader.next();
      else this.onMessage(whole[0], whole);
    }
  }

  // The shared secret becomes the handshake's keys.
  agree(theirShare) {
    const prefix = Buffer.from('302a300506032b656e032100', 'hex');
    const publicKey = crypto.createPublicKey({ key: cat(prefix, theirShare), type: 'spki', format: 'der' });
    const shared = crypto.diffieHellman({ privateKey: this.privateKey, publicKey });
    const early = hmac(ZEROS, ZEROS);
    const handshake = hmac(expand(early, 'derived', hash(NOTHING), 32), shared);
    this.master = hmac(expand(handshake, 'derived', hash(NOTHING), 32), ZEROS);
    this.useSecrets(handshake, 'c hs traffic', 's hs traffic');
  }

  useSecrets(secret, clientLabel, serverLabel) {
    const at = hash(this.transcript);
    const client = new Keys(expand(secret, clientLabel, at, 32));
    const server = new Keys(expand(secret, serverLabel, at, 32));
    [this.writer, this.reader] = this.isServer ? [server, client] : [client, server];
  }

  finished(keys) {
    return message(MESSAGE.finished, hmac(expand(keys.secret, 'finished', NOTHING, 32), hash(this.transcript)));
  }

  // --- what scripts send ---

  raw(bytes) {
    if (!this.socket.destroyed) this.socket.write(bytes);
    return this;
  }

  send(type, body, padding = 0) {
    return this.raw(this.sealed(type, body, padding));
  }

  sealed(type, body, padding = 0) {
    return this.writer.seal(cat(body, u8(type), Buffer.alloc(padding)));
  }

  // Keys of this side change with it.
  keyUpdate(requested) {
    const bytes = this.sealed(TYPE.handshake, message(MESSAGE.keyUpdate, u8(requested ? 1 : 0)));
    this.writer = this.writer.next();
    return bytes;
  }
}

class Client extends Peer {
  // options: serverName (the whole extension), extra (extensions), share (false: none, which leads to a
  // HelloRetryRequest), second (what differs in the second hello), helloStep and finishedStep (bytes per record of the
  // two flights), finished (replaces the message)
  constructor(port, options, ready) {
    super(net.connect(port, '127.0.0.1'), false);
    this.options = options;
    this.ready = ready;
    this.random = crypto.randomBytes(32);
    this.sessionId = crypto.randomBytes(32);
    this.hello = this.makeHello(options);
    this.transcript = this.hello;
    this.socket.on('connect', () => this.sayHello());
  }

  makeHello(o) {
    const shares = o.share === false ? [] : [u16(29), vec16(this.share)];
    return message(MESSAGE.clientHello, u16(0x0303), this.random, vec8(this.sessionId), vec16(u16(o.suite || 0x1301)),
      vec8(u8(0)), vec16(
        o.serverName || serverName('localhost'),
        extension(10, vec16(u16(29))), extension(13, vec16(u16(0x0403), u16(0x0804), u16(0x0503))),
        extension(43, vec8(u16(o.version || 0x0304))), extension(45, vec8(u8(1))),
        extension(51, vec16(...shares)), ...(o.extra || [])));
  }

  sayHello() {
    const step = this.options.helloStep || 16000;
    for (let i = 0; i < this.hello.length; i += step)
      this.raw(record(TYPE.handshake, this.hello.subarray(i, i + step), 0x0301));
  }

  // RFC 8446, 4.4.1: the first hello stands in the transcript as its hash.
  sayHelloAgain(request) {
    const first = message(254, hash(this.hello));
    this.hello = this.makeHello({ ...this.options, share: true, ...this.options.second });
    this.transcript = cat(first, request, this.hello);
    this.sayHello();
  }

  onMessage(type, whole) {
    if (this.opened) return;
    if (type === MESSAGE.serverHello && whole.includes(RETRY)) {
      this.sayHelloAgain(whole);
      return;
    }
    this.transcript = cat(this.transcript, whole);
    if (type === MESSAGE.serverHello) {
      this.agree(shareIn(whole));
    } else if (type === MESSAGE.certificateRequest) {
      this.asked = true;
    } else if (type === MESSAGE.finished) {
      this.opened = true;
      this.conclude();
    }
  }

  conclude() {
    const handshakeWriter = this.writer;
    this.useSecrets(this.master, 'c ap traffic', 's ap traffic');
    const dataWriter = this.writer;
    this.writer = handshakeWriter;
    if (this.asked) {
      const none = message(MESSAGE.certificate, vec8(), vec24());
      this.transcript = cat(this.transcript, none);
      this.send(TYPE.handshake, none);
    }
    const last = this.options.finished || this.finished(this.writer);
    const step = this.options.finishedStep || last.length;
    for (let i = 0; i < last.length; i += step) this.send(TYPE.handshake, last.subarray(i, i + step));
    this.writer = dataWriter;
    this.ready(this);
  }
}

// The x25519 key in the key_share of a hello.
function shareIn(hello) {
  const fromClient = hello[0] === MESSAGE.clientHello;
  let at = 4 + 2 + 32;
  at += 1 + hello[at];
  at += fromClient ? 2 + hello.readUInt16BE(at) : 3;
  if (fromClient) at += 1 + hello[at];
  at += 2;
  while (at < hello.length) {
    const type = hello.readUInt16BE(at);
    const body = hello.subarray(at + 4, at + 4 + hello.readUInt16BE(at + 2));
    if (type === 51) {
      for (let i = fromClient ? 2 : 0; i < body.length; i += 4 + body.readUInt16BE(i + 2))
        if (body.readUInt16BE(i) === 29) return body.subarray(i + 4, i + 36);
    }
    at += 4 + body.length;
  }
  throw new Error('no x25519 share');
}

function sessionIdIn(hello) {
  const at = 4 + 2 + 32;
  return hello.subarray(at + 1, at + 1 + hello[at]);
}

class Server extends Peer {
  // options: chain (list of DER), key (PEM), suite, helloExtra (extensions); encryptedExtensions, verify and finished
  // replace the message; behind(server) is done with the flight, before the client's Finished
  constructor(socket, options, ready) {
    super(socket, true);
    this.options = options;
    this.ready = ready;
  }

  say(whole) {
    this.transcript = cat(this.transcript, whole);
    this.send(TYPE.handshake, whole);
  }

  onMessage(type, whole) {
    if (type === MESSAGE.clientHello && !this.writer) this.answer(whole);
    else if (type === MESSAGE.finished && !this.opened) {
      this.opened = true;
      [this.writer, this.reader] = this.dataKeys;
      this.ready(this);
    }
  }

  answer(hello) {
    const o = this.options;
    this.socket.cork();
    const serverHello = message(MESSAGE.serverHello, u16(0x0303), crypto.randomBytes(32), vec8(sessionIdIn(hello)),
      u16(o.suite || 0x1301), u8(0), vec16(extension(43, u16(0x0304)), extension(51, u16(29), vec16(this.share)),
        ...(o.helloExtra || [])));
    this.transcript = cat(hello, serverHello);
    this.raw(record(TYPE.handshake, serverHello));
    this.agree(shareIn(hello));
    const [writer, reader] = [this.writer, this.reader];
    this.say(o.encryptedExtensions || message(MESSAGE.encryptedExtensions, vec16()));
    const entries = o.chain.map((der) => cat(vec24(der), vec16(...(o.certificateExtra || []))));
    const chain = message(MESSAGE.certificate, vec8(), vec24(...entries));
    this.transcript = cat(this.transcript, chain);
    for (let i = 0; i < chain.length; i += 16000) this.send(TYPE.handshake, chain.subarray(i, i + 16000));
    const signed = cat(Buffer.alloc(64, 32), Buffer.from('TLS 1.3, server CertificateVerify\0'),
      hash(this.transcript));
    this.say(o.verify || message(MESSAGE.certificateVerify, u16(0x0403), vec16(crypto.sign('sha256', signed, o.key))));
    this.say(o.finished || this.finished(writer));
    this.useSecrets(this.master, 'c ap traffic', 's ap traffic');
    this.dataKeys = [this.writer, this.reader];
    [this.writer, this.reader] = [this.dataKeys[0], reader];
    if (o.behind) o.behind(this);
    this.socket.uncork();
  }
}

module.exports = { Client, Server, TYPE, MESSAGE, u8, u16, cat, vec8, vec16, vec24, extension, message, record,
  serverName };
