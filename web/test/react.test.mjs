import assert from 'node:assert/strict';
import { after, afterEach, beforeEach, test } from 'node:test';
import { installDom, until } from './support/dom.mjs';
import { sendProblem, sleep, stall, startGateway, streamOf, typed } from './support/gateway.mjs';

const { root: element, created, revoked } = installDom();
const { createElement: h, StrictMode, useEffect } = await import('react');
const { createRoot } = await import('react-dom/client');
const { createImageClient } = await import('../dist/index.js');
const { useImageStream } = await import('../dist/react.js');

let gateway;
let client;
let root;
let hook;
beforeEach(async () => {
  gateway = await startGateway({ workMs: 50, pauseMs: 10 });
  client = createImageClient({ url: gateway.url, previewIntervalMs: 1 });
  root = createRoot(element);
  hook = undefined;
});
afterEach(async () => {
  root.unmount();
  await sleep(20);
  await gateway.close();
});

function Create({ onMount }) {
  hook = useImageStream(client);
  useEffect(() => onMount?.(hook), []);
  return h('main', null, h('p', null, hook.status), ...hook.images.map(({ src, index }) => h('img', { key: index, src })));
}

const render = (props) => root.render(h(StrictMode, null, h(Create, props)));

test('StrictMode: a call in an event handler is one POST, and its picture is shown', async () => {
  render();
  await until(() => element.textContent === 'idle');
  const statuses = new Set();
  const promise = hook.generate({ prompt: 'x' });
  const double = hook.generate({ prompt: 'x' });
  await until(() => (statuses.add(hook.status), hook.status === 'completed'));
  assert.equal((await promise).images.length, 1);
  assert.equal(await double, await promise, 'a double click has the same run');
  assert.equal(gateway.posts().length, 1);
  await until(() => element.querySelector('img'));
  assert.match(element.querySelector('img').getAttribute('src'), /^blob:/);
  assert.equal(hook.taskId, gateway.posts()[0].headers['idempotency-key']);
  assert.ok(statuses.has('streaming'));
});

test('StrictMode: a call in an effect, which runs twice, is one POST too', async () => {
  let calls = 0;
  render({ onMount: ({ generate }) => (calls++, void generate({ prompt: 'x' })) });
  await until(() => hook?.status === 'completed');
  assert.equal(calls, 2);
  assert.equal(gateway.posts().length, 1);
  assert.equal(gateway.upstreamCalls, 1);
});

test('unmount stops reading without a DELETE, and revokes every object URL', async () => {
  render();
  await until(() => hook?.status === 'idle');
  await hook.generate({ prompt: 'x' });
  let closed = false;
  gateway.next('POST /api/generate-stream', (request, response, body) => {
    response.on('close', () => (closed = true));
    return streamOf([typed('start', {})], stall)(request, response, body);
  });
  void hook.generate({ prompt: 'y' });
  await until(() => gateway.posts().length === 2 && hook.status === 'streaming');
  root.unmount();
  await until(() => closed);
  assert.deepEqual(gateway.requests.map(({ method }) => method), ['POST', 'POST']);
  await sleep(30);
  assert.deepEqual([...created].filter((url) => !revoked.has(url)), []);
});

test('cancel and generate in one handler: the new call is a new run', async () => {
  render();
  await until(() => hook?.status === 'idle');
  const first = hook.generate({ prompt: 'x' });
  await until(() => hook.status === 'streaming');
  hook.cancel();
  const second = hook.generate({ prompt: 'y' });
  assert.equal(await first, undefined);
  assert.equal((await second).images.length, 1);
  await until(() => hook.status === 'completed');
  assert.equal(gateway.posts().length, 2);
});

test('a failure is in error; cancel and reset lead back to idle', async () => {
  render();
  await until(() => hook?.status === 'idle');
  gateway.next('POST /api/generate-stream', (_, response) => sendProblem(response, 'insufficient_credits', 402));
  assert.equal(await hook.generate({ prompt: 'x' }), undefined);
  await until(() => hook.status === 'error');
  assert.equal(hook.error.code, 'insufficient_credits');
  hook.reset();
  await until(() => hook.status === 'idle' && !hook.error);
  const ended = hook.generate({ prompt: 'x' });
  await until(() => hook.status === 'streaming');
  hook.cancel();
  assert.equal(await ended, undefined);
  await until(() => hook?.status === 'idle');
  await until(() => gateway.requests.some(({ method }) => method === 'DELETE'));
});
