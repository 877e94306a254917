// The defects of other clients for event streams, each by the name of the client that had it when it was run.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { createImageClient } from '../dist/index.js';
import { createSseDecoder } from '../dist/sse.js';
import { cut, doneOf, makePng, pictureEvents, sendProblem, sleep, stall, startGateway, streamOf, typed } from './support/gateway.mjs';

const GENERATE = 'POST /api/generate-stream';
let gateway;
beforeEach(async () => {
  gateway = await startGateway();
});
afterEach(() => gateway.close());

const client = (options = {}) => createImageClient({ url: { generate: `${gateway.url}/api/generate-stream` }, retry: { baseMs: 100 }, ...options });
const code = (run) => run.result().then(() => 'success', (error) => error.code);

test('fal, openai: a timeout that does not fire while a stream is silent', async () => {
  gateway.next(GENERATE, streamOf([typed('start', {}), ...pictureEvents(0, makePng()).slice(0, 2)], stall));
  const started = Date.now();
  assert.equal(await code(client({ idleTimeoutMs: 300 }).generate({ prompt: 'x' })), 'timeout');
  assert.ok(Date.now() - started < 1500);
});

test('fal: a character that is cut between two pieces', async () => {
  const bytes = Buffer.from(typed('text', { index: 0, text: '图像' }));
  const at = bytes.indexOf('图像') + 1;
  const png = makePng();
  gateway.next(GENERATE, streamOf([bytes.subarray(0, at), 30, bytes.subarray(at), ...pictureEvents(0, png), typed('done', { images: [doneOf(0, png)], failed: [] })]));
  assert.equal((await client().generate({ prompt: 'x' }).result()).text, '图像');
});

test('fal: a cut connection, or a 401, that ends the loop without an error', async () => {
  gateway.next(GENERATE, streamOf([typed('start', {}), 20], cut));
  assert.equal(await code(client().generate({ prompt: 'x' })), 'interrupted');
  gateway.next(GENERATE, (_, response) => sendProblem(response, 'token_invalid', 401));
  assert.equal(await code(client().generate({ prompt: 'x' })), 'token_invalid');
});

test('fal: a break that leaves the connection open', async () => {
  let closed = false;
  gateway.next(GENERATE, (request, response) => {
    response.on('close', () => (closed = true));
    return streamOf([typed('start', {})], stall)(request, response);
  });
  for await (const { type } of client().generate({ prompt: 'x' })) if (type === 'start') break;
  await sleep(50);
  assert.ok(closed);
});

test('replicate: attempts without any wait, with Retry-After and without it', async () => {
  gateway.next(GENERATE, (_, response) => response.writeHead(429, { 'retry-after': '1' }).end());
  gateway.next(GENERATE, (_, response) => response.writeHead(503).end());
  await client().generate({ prompt: 'x' }).result();
  const [first, second, third] = gateway.posts().map(({ at }) => at);
  assert.ok(second - first >= 990, `${second - first} ms`);
  // The second wait is twice the base, less a quarter.
  assert.ok(third - second >= 149, `${third - second} ms`);
});

test('fetch-event-source: a second POST when the tab is hidden and shown', async () => {
  const document = new EventTarget();
  Object.assign(document, { hidden: false, visibilityState: 'visible' });
  globalThis.document = document;
  try {
    await gateway.close();
    gateway = await startGateway({ workMs: 200 });
    const run = client().generate({ prompt: 'x' });
    for await (const { type } of run) {
      if (type !== 'start') continue;
      for (const hidden of [true, false]) {
        document.hidden = hidden;
        document.dispatchEvent(new Event('visibilitychange'));
      }
    }
    assert.equal(gateway.posts().length, 1);
  } finally {
    delete globalThis.document;
  }
});

test('fetch-event-source, eventsource-client: a 401 that is sent again and again, or read as a stream', async () => {
  gateway.next(GENERATE, (_, response) => {
    response.writeHead(401, { 'content-type': 'text/event-stream' });
    response.end(typed('start', { task_id: 't' }));
  });
  const types = [];
  const run = client({ token: 'stale' }).generate({ prompt: 'x' });
  await assert.rejects(async () => {
    for await (const { type } of run) types.push(type);
  }, { code: 'token_invalid' });
  assert.deepEqual(types, ['connecting']);
  await sleep(400);
  assert.equal(gateway.posts().length, 1);
});

test('fetch-event-source: an abort that resolves', async () => {
  gateway.next(GENERATE, streamOf([typed('start', {})], stall));
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 50);
  assert.equal(await code(client().generate({ prompt: 'x' }, { signal: controller.signal })), 'aborted');
});

test('fetch-event-source: a buffer that is copied with each piece', () => {
  const time = (pieces) => {
    const decoder = createSseDecoder();
    const piece = new Uint8Array(2048).fill(65);
    decoder.push(Buffer.from('data: '));
    const started = performance.now();
    for (let left = pieces; left > 0; left--) decoder.push(piece);
    decoder.push(Buffer.from('\n\n'));
    return performance.now() - started;
  };
  time(2000);
  const [short, long] = [1, 1, 1].reduce(([a, b]) => [Math.min(a, time(1000)), Math.min(b, time(8000))], [Infinity, Infinity]);
  assert.ok(long < short * 30 + 50, `8 times the pieces: ${short.toFixed(1)} and ${long.toFixed(1)} ms`);
});

test('eventsource-client: a POST that is sent again after the end of a stream', async () => {
  await client().generate({ prompt: 'x' }).result();
  await sleep(400);
  assert.equal(gateway.posts().length, 1);
});

test('openai: the end of a stream without its terminal event as success', async () => {
  const chunk = `data: ${JSON.stringify({ choices: [{ delta: { content: `![image](data:image/png;base64,${makePng().toString('base64')})` } }] })}\n\n`;
  gateway.next(GENERATE, streamOf([chunk]));
  assert.equal(await code(client().generate({ prompt: 'x', format: 'chat' })), 'interrupted');
  gateway.next(GENERATE, streamOf(pictureEvents(0, makePng())));
  assert.equal(await code(client().generate({ prompt: 'x' })), 'interrupted');
});
