// memcached, from npm, on Node. See session.py for the parts.
//
// It has no noreply for a single server, no gat, and refuses values that are too large by itself.
// It reads values as text and cuts them at line ends: it escapes those in what it stores, and
// binary values come back one byte longer for each escape in UTF-8, so bytes are those of ASCII.
'use strict';

const assert = require('node:assert/strict');
const Memcached = require('memcached');

const ITEM_BYTES_MAX = 1 << 20;
const MANY_KEYS = 1_000;
const PATIENCE_MS = 20_000;

const server = `${process.argv[2]}:${process.argv[3]}`;
const client = new Memcached(server, { poolSize: 4, timeout: 60_000, idle: 60_000 });

/** The answer of one command, as a promise. */
function ask(command, ...parameters) {
  return new Promise((resolve, reject) => {
    client[command](...parameters, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

/** Whether a store was carried out; the library turns NOT_STORED into an error. */
async function stored(command, ...parameters) {
  try {
    return await ask(command, ...parameters);
  } catch (error) {
    if (error.notStored) return false;
    throw error;
  }
}

async function eventually(what, probe) {
  const until = Date.now() + PATIENCE_MS;
  while (!(await probe())) {
    assert.ok(Date.now() < until, `waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function storeAndRead() {
  assert.equal(await ask('get', 'absent'), undefined);
  assert.equal(await ask('set', 'a', '1', 0), true);
  assert.equal(await ask('get', 'a'), '1');
  assert.equal(await ask('set', 'a', '', 0), true);
  assert.equal(await ask('get', 'a'), '');
  const lines = 'END\r\nVALUE x 0 1\r\nätsch\r\n';
  assert.equal(await ask('set', 'lines', lines, 0), true);
  assert.equal(await ask('get', 'lines'), lines);
  assert.equal(await stored('add', 'a', '2', 0), false);
  assert.equal(await stored('add', 'added', '2', 0), true);
  assert.equal(await stored('replace', 'not-there', '2', 0), false);
  assert.equal(await stored('replace', 'added', 'bb', 0), true);
  assert.equal(await stored('append', 'added', 'c'), true);
  assert.equal(await stored('prepend', 'added', 'a'), true);
  assert.equal(await ask('get', 'added'), 'abbc');
  assert.equal(await ask('del', 'added'), true);
  assert.equal(await ask('del', 'added'), false);
  assert.equal(await ask('get', 'added'), undefined);
  const key = 'k'.repeat(250);
  assert.equal(await ask('set', key, 'long', 0), true);
  assert.equal(await ask('get', key), 'long');
}

async function count() {
  await ask('set', 'n', '10', 0);
  assert.equal(await ask('incr', 'n', 5), 15);
  assert.equal(await ask('decr', 'n', 7), 8);
  assert.equal(await ask('decr', 'n', 100), 0);
  assert.equal(await ask('incr', 'absent', 1), false);
  await ask('set', 'n', '18446744073709551615', 0);
  assert.equal(await ask('incr', 'n', 1), 0);
  for (let number = 1; number <= 1000; number += 1) {
    assert.equal(await ask('incr', 'n', 1), number);
  }
}

async function compare() {
  await ask('set', 'c', '1', 0);
  const found = await ask('gets', 'c');
  assert.equal(found.c, '1');
  assert.equal(await ask('cas', 'c', '2', found.cas, 0), true);
  assert.equal(await ask('cas', 'c', '3', found.cas, 0), false);
  assert.equal(await ask('get', 'c'), '2');
}

async function expire() {
  await ask('set', 'short', '1', 2);
  await ask('set', 'long', '1', 1000);
  await ask('set', 'touched', '1', 2);
  assert.equal(await ask('touch', 'touched', 1000), true);
  assert.equal(await ask('touch', 'absent', 1000), false);
  assert.equal(await ask('get', 'short'), '1');
  await eventually('a value to expire', async () => (await ask('get', 'short')) === undefined);
  assert.equal(await ask('get', 'long'), '1');
  assert.equal(await ask('get', 'touched'), '1');
}

async function large() {
  const value = 'large value '.repeat(ITEM_BYTES_MAX / 12 + 1).slice(0, ITEM_BYTES_MAX);
  for (let number = 0; number < 5; number += 1) {
    assert.equal(await ask('set', `large:${number}`, value.slice(number), 0), true);
  }
  for (let number = 0; number < 5; number += 1) {
    const found = await ask('get', `large:${number}`);
    assert.ok(found === value.slice(number), `large:${number} is damaged`);
  }
  await assert.rejects(ask('set', 'large:5', `${value}1`, 0), /greater than/);
}

async function many() {
  const keys = Array.from({ length: MANY_KEYS }, (_, number) => `many:${number}`);
  // All at once, over the connections of the pool.
  await Promise.all(keys.map((key) => ask('set', key, `value of ${key}`, 0)));
  const wanted = Object.fromEntries(keys.map((key) => [key, `value of ${key}`]));
  assert.deepEqual(await ask('getMulti', keys), wanted);
  const odd = keys.filter((_, at) => at % 2 === 1);
  await Promise.all(odd.map((key) => ask('del', key)));
  for (const key of odd) delete wanted[key];
  assert.deepEqual(await ask('getMulti', keys), wanted);
}

async function flush() {
  await ask('set', 'before', '1', 0);
  assert.deepEqual(await ask('flush'), [true]);
  assert.equal(await ask('get', 'before'), undefined);
  await ask('set', 'after', '1', 0);
  assert.equal(await ask('get', 'after'), '1');
}

/** Flags tell the library what it has stored; `version` must match its pattern. */
async function own() {
  for (const thing of [5, 1.5, { a: [1, null] }, Buffer.from('bytes')]) {
    await ask('set', 'thing', thing, 0);
    assert.deepEqual(await ask('get', 'thing'), thing);
  }
  const [version] = await ask('version');
  assert.deepEqual([version.server, version.major], [server, '1']);
  const [settings] = await ask('settings');
  assert.equal(settings.cas_enabled, 'yes');
  const [slabs] = await ask('slabs');
  assert.ok(Object.values(slabs).some((slab) => slab.chunk_size > 0));
  const [items] = await ask('items');
  const classes = Object.keys(items).filter((name) => name !== 'server');
  assert.ok(classes.length > 0, 'an item is in some class');
  for (const each of classes) {
    // As a memcached that has been told not to.
    await assert.rejects(ask('cachedump', server, Number(each), 10), /not allowed/);
  }
}

async function statistics() {
  const [stats] = await ask('stats');
  for (const name of ['pid', 'uptime', 'version', 'curr_items', 'cmd_get', 'cmd_set', 'bytes']) {
    assert.ok(name in stats, `${name} is missing`);
  }
  assert.ok(stats.cmd_set > MANY_KEYS);
}

async function run() {
  const parts = [storeAndRead, count, compare, expire, large, many, flush, own, statistics];
  for (const part of parts) {
    await part();
    process.stdout.write(`${part.name}: as it should be\n`);
  }
  client.end();
}

// A callback that never comes would end the process in peace.
const watchdog = setTimeout(() => assert.fail('no answer'), 120_000);
run().then(
  () => clearTimeout(watchdog),
  (error) => {
    process.stderr.write(`${error.stack}\n`);
    process.exit(1);
  },
);
