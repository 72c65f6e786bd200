'use strict';
// usage: node --expose-gc contexts.js DIRECTORY COUNT: the same as contexts.lua.
const fs = require('fs');
const tls = require('tls');

const [directory, number] = process.argv.slice(2);
const count = Number(number);
const options = {
  key: fs.readFileSync(`${directory}/chain.key`),
  cert: fs.readFileSync(`${directory}/chain.crt`),
};

const pause = () => new Promise((resolve) => setImmediate(resolve));

async function memory() {
  for (let i = 0; i < 4; i++) {
    global.gc();
    await pause(); // finalizers run between
  }
  const text = fs.readFileSync('/proc/self/smaps_rollup', 'utf8');
  let total = 0;
  for (const [, amount] of text.matchAll(/Private_\w+:\s+(\d+)/g)) total += Number(amount);
  return total;
}

function milliseconds(fn) {
  const start = process.hrtime.bigint();
  fn();
  return Number(process.hrtime.bigint() - start) / 1e6;
}

let contexts = [];

function build() {
  for (let i = 0; i < count; i++) contexts[i] = tls.createSecureContext(options);
}

(async () => {
  const first = milliseconds(() => { contexts[0] = tls.createSecureContext(options); });
  const before = await memory();
  const elapsed = milliseconds(build);
  const built = await memory();
  contexts = [];
  const dropped = await memory();
  build();
  contexts = [];
  const again = await memory();
  const figures = {
    first_ms: first,
    each_us: elapsed * 1e3 / count,
    each_kib: (built - before) / count,
    dropped_mib: (dropped - before) / 1024,
    again_mib: (again - before) / 1024,
  };
  console.log(Object.entries(figures).map(([name, n]) => `${name}=${n.toFixed(2)}`).join(' '));
})();
