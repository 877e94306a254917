// 200 generations through a proxy that cuts, stalls and resets connections: no picture is lost and none is paid twice.
import assert from 'node:assert/strict';
import { connect, createServer } from 'node:net';
import { test } from 'node:test';
import { createImageClient } from '../dist/index.js';
import { startGateway } from './support/gateway.mjs';

const RUNS = 200;
const AT_ONCE = 50;

function random(seed) {
  let state = seed;
  return () => {
    state = (state * 1664525 + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** A proxy for TCP. Of all connections, `rate` end badly, in one of five ways, at a random place. */
async function startProxy(port, rate, next) {
  const faults = { refused: 0, 'request cut': 0, 'answer cut': 0, 'answer reset': 0, 'answer stalled': 0 };
  const server = createServer((client) => {
    const upstream = connect(port, '127.0.0.1');
    const close = () => {
      client.destroy();
      upstream.destroy();
    };
    for (const socket of [client, upstream]) socket.on('error', close);
    client.on('close', () => upstream.destroy());
    upstream.on('close', () => client.end());
    const fault = next() < rate ? Object.keys(faults)[Math.floor(next() * 5)] : undefined;
    if (fault) faults[fault]++;
    // Node cannot reset a socket that is ending: it would never close, and the process would never exit.
    const reset = () => (client.writableEnded ? client.destroy() : client.resetAndDestroy());
    if (fault === 'refused') return reset();
    if (fault === 'request cut') {
      client.once('data', (piece) => {
        upstream.write(piece.subarray(0, Math.floor(next() * piece.length)));
        setTimeout(close, 20);
      });
      return;
    }
    client.pipe(upstream);
    let left = fault ? Math.floor(next() ** 2 * 9000) : Infinity;
    upstream.on('data', (piece) => {
      if (left <= 0) return;
      client.write(piece.subarray(0, left));
      left -= piece.length;
      if (left > 0) return;
      if (fault === 'answer cut') client.end();
      if (fault === 'answer reset') setTimeout(reset, 10);
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { server, faults, url: `http://127.0.0.1:${server.address().port}` };
}

test(`${RUNS} generations through a lossy network: ${RUNS} pictures, ${RUNS} upstream calls`, { timeout: 150_000 }, async (t) => {
  const gateway = await startGateway({ workMs: 100, pauseMs: 30 });
  const proxy = await startProxy(gateway.port, 0.3, random(14));
  t.after(() => {
    proxy.server.close();
    return gateway.close();
  });
  // Every request has a connection of its own, as after a change of networks. At this rate three POSTs in a row are lost
  // too often for the default of two retries; then nothing has reached the service, and the error is `network`.
  const client = createImageClient({ url: proxy.url, headers: { connection: 'close' }, retry: { retries: 6, baseMs: 50 }, idleTimeoutMs: 1500 });
  const counts = { resumed: 0, retry: 0 };

  async function generate() {
    const run = client.generate({ prompt: 'x' });
    for await (const { type } of run) if (type in counts) counts[type]++;
    const { images } = await run.result();
    assert.equal(images.length, 1);
    const { png } = gateway.tasks.get(run.taskId).pictures[0];
    // A link is fetched past the proxy: its download can be repeated without cost.
    const link = images[0].url?.replace(proxy.url, gateway.url);
    const blob = await client.blob({ ...images[0], ...(link && { url: link }) });
    assert.deepEqual(Buffer.from(await blob.arrayBuffer()), png);
    return images[0].sha256;
  }

  const hashes = new Set();
  let started = 0;
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    while (started++ < RUNS) hashes.add(await generate());
  }));
  console.log(JSON.stringify({ ...proxy.faults, ...counts, posts: gateway.posts().length }));
  assert.equal(hashes.size, RUNS);
  assert.equal(gateway.upstreamCalls, RUNS);
  for (const [fault, count] of Object.entries(proxy.faults)) assert.ok(count >= 5, `${fault}: ${count}`);
  assert.ok(counts.resumed > 10 && counts.retry > 10, JSON.stringify(counts));
});
