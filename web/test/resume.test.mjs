import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, test } from 'node:test';
import { createImageClient, ImageStreamError } from '../dist/index.js';
import { cut, doneOf, makePng, pictureEvents, sendProblem, sleep, stall, startGateway, streamOf, typed } from './support/gateway.mjs';

const GENERATE = 'POST /api/generate-stream';
let gateway;
beforeEach(async () => {
  gateway = await startGateway();
});
afterEach(() => gateway.close());

const client = (options = {}) => createImageClient({ url: gateway.url, retry: { baseMs: 5, maxMs: 20 }, language: 'en', ...options });

async function collect(run) {
  const events = [];
  for await (const event of run) events.push(event);
  return events;
}

async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof ImageStreamError, `${error?.stack}`);
    return error;
  }
  throw new Error('it did not fail');
}

const types = (events) => events.map(({ type }) => type).filter((type, at, all) => type !== all[at - 1]);

/** The record that `GET /api/generations/{id}` has. */
const record = (more) => ({ task_id: 't', route: '/api/generate-stream', status: 'succeeded', attempts: 1, images: 1, created: '', updated: '', ...more });

/** Answers the next questions for `taskId` with these records; null is 404. */
function records(taskId, ...items) {
  for (const item of items) {
    gateway.next(`GET /api/generations/${taskId}`, (_, response) => {
      if (!item) return sendProblem(response, 'task_not_found', 404);
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify(item));
    });
  }
}

/** Breaks the next stream of the gateway's own work after its head and `events` events. */
function breakStream(after, how = cut) {
  gateway.next(GENERATE, async (request, response, body) => {
    const task = { url: gateway.url };
    const inner = await fetch(`${task.url}/api/generate-stream`, { method: 'POST', headers: { 'idempotency-key': request.headers['idempotency-key'], 'content-type': 'application/json' }, body });
    gateway.requests.pop();
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    let text = '';
    const utf8 = new TextDecoder();
    for await (const piece of inner.body) {
      text += utf8.decode(piece, { stream: true });
      const events = text.split(/(?<=\n\n)/);
      if (events.length > after) {
        response.write(events.slice(0, after).join(''));
        await sleep(20);
        how(response);
        break;
      }
    }
  });
}

test('a stream that is cut within a picture goes on from the log, and nothing is paid twice', async () => {
  breakStream(5);
  const run = client().generate({ prompt: 'x' });
  const events = await collect(run);
  assert.deepEqual(types(events), ['connecting', 'start', 'process', 'image-start', 'progress', 'resumed', 'image', 'done']);
  const resumed = events.find(({ type }) => type === 'resumed');
  assert.deepEqual([resumed.taskId, resumed.error.code], [run.taskId, 'network']);
  const { result } = events.at(-1);
  assert.equal(result.resumed, true);
  const [image] = result.images;
  assert.match(image.url, /pictures/);
  const { png } = gateway.tasks.get(run.taskId).pictures[0];
  assert.deepEqual(Buffer.from(await (await client().blob(image)).arrayBuffer()), png);
  assert.equal(gateway.posts().length, 1);
  assert.equal(gateway.upstreamCalls, 1);
});

for (const [name, how, code] of [['ends early', (response) => response.end(), 'interrupted'], ['goes silent', stall, 'timeout']]) {
  test(`a stream that ${name} goes on from the log`, async () => {
    breakStream(4, how);
    const events = await collect(client({ idleTimeoutMs: 120 }).generate({ prompt: 'x' }));
    assert.equal(events.find(({ type }) => type === 'resumed').error.code, code);
    assert.equal(events.at(-1).result.images.length, 1);
    assert.equal(gateway.upstreamCalls, 1);
  });
}

test('a picture that arrived whole keeps its bytes, and is not announced twice', async () => {
  const png = makePng();
  gateway.next(GENERATE, streamOf([typed('start', {}), ...pictureEvents(0, png), 10], cut));
  records('k', record({ pictures: [{ ...doneOf(0, png), url: 'https://example.com/0', url_expires: 'x', expires: 'y' }] }));
  const events = await collect(client().generate({ prompt: 'x' }, { taskId: 'k' }));
  assert.equal(events.filter(({ type }) => type === 'image').length, 1);
  const [image] = events.at(-1).result.images;
  assert.equal(image.blob.size, png.length);
  assert.deepEqual([image.url, image.expires, image.taskId], ['https://example.com/0', 'y', 'k']);
});

test('an answer that lacks only its end is a success where every picture is whole, also if none is kept', async () => {
  const png = makePng();
  gateway.next(GENERATE, streamOf([typed('start', {}), ...pictureEvents(0, png), 10], cut));
  records('k', record({ images: 1 }));
  const result = await client().generate({ prompt: 'x' }, { taskId: 'k' }).result();
  assert.equal(result.images[0].blob.size, png.length);
});

test('a task that runs is asked for again, slower each time, and survives failures of the log', async () => {
  gateway.next(GENERATE, streamOf([typed('start', {})], cut));
  records('k', record({ status: 'running' }));
  gateway.next('GET /api/generations/k', (_, response) => response.destroy());
  gateway.next('GET /api/generations/k', (_, response) => response.writeHead(502).end('bad gateway'));
  records('k', record({ pictures: [{ ...doneOf(0, makePng()), url: 'https://example.com/0' }] }));
  const result = await client().generate({ prompt: 'x' }, { taskId: 'k' }).result();
  assert.equal(result.images.length, 1);
  const gets = gateway.requests.filter(({ method }) => method === 'GET').map(({ at }) => at);
  const waits = gets.slice(1).map((at, index) => at - gets[index]);
  assert.ok(waits.length >= 3 && waits[1] > waits[0] + 300, `${waits}`);
});

test('409 task_in_progress follows the task that runs', async () => {
  await gateway.close();
  gateway = await startGateway({ workMs: 800 });
  const first = client().generate({ prompt: 'x' }, { taskId: 'k' });
  for await (const event of first) if (event.type === 'start') break;
  const events = await collect(client().generate({ prompt: 'x' }, { taskId: 'k' }));
  assert.deepEqual(types(events), ['connecting', 'resumed', 'image', 'done']);
  assert.equal(events[1].error.code, 'task_in_progress');
  assert.equal(gateway.upstreamCalls, 1);
});

test('409 task_already_completed: links of the log, else the refusal itself', async () => {
  for (const pictures of [[{ ...doneOf(0, makePng()), url: 'https://example.com/0' }], []]) {
    gateway.next(GENERATE, (_, response) => sendProblem(response, 'task_already_completed', 409));
    records('k', record({ pictures }));
    const run = client().generate({ prompt: 'x' }, { taskId: 'k' });
    if (pictures.length) assert.equal((await run.result()).images[0].url, 'https://example.com/0');
    else assert.equal((await failure(run.result())).code, 'task_already_completed');
  }
});

/** A stream of three slots, of which two are whole and one breaks off. */
const broken = (pngs) => streamOf([typed('start', {}), ...pngs.flatMap((png, index) => pictureEvents(index, png)), ...pictureEvents(pngs.length, makePng()).slice(0, 2), 10], cut);

test('what is kept in part is a success: kept copies, then the stream, and the rest is in failed', async () => {
  const pngs = [makePng(), makePng()];
  gateway.next(GENERATE, broken(pngs));
  records('k', record({ images: 4, pictures: [{ ...doneOf(3, makePng()), url: 'https://example.com/3' }, { ...doneOf(1, pngs[1]), url: 'https://example.com/1' }] }));
  const { images, failed, resumed } = await client().generate({ prompt: 'x', n: 4 }, { taskId: 'k' }).result();
  assert.deepEqual(images.map(({ index, blob, url }) => [index, blob?.size, url]), [[0, pngs[0].length, undefined], [1, pngs[1].length, 'https://example.com/1'], [3, undefined, 'https://example.com/3']]);
  assert.deepEqual(failed, [{ index: 2, code: 'interrupted', message: 'Connection broken' }]);
  assert.equal(resumed, true);
});

test('a link of ARK that was not copied stands beside the copies', async () => {
  const urls = ['https://ark.example/0', 'https://ark.example/1', 'https://ark.example/2'];
  const copy = (index) => ({ ...doneOf(index, makePng()), url: `https://example.com/${index}` });
  records('k', record({ images: 3, urls, pictures: [copy(0), copy(2)] }));
  const { images } = await client().resume('k').result();
  assert.deepEqual(images.map(({ index, url }) => [index, url]), [[0, 'https://example.com/0'], [1, 'https://ark.example/1'], [2, 'https://example.com/2']]);
  // The links have no slots: where slot 1 has failed, the second link is that of slot 2.
  records('m', record({ images: 2, urls: urls.slice(1), pictures: [copy(0), copy(2)] }));
  assert.deepEqual((await client().resume('m').result()).images.map(({ index }) => index), [0, 2]);
});

test('a whole draft is no result where the final picture is lost', async () => {
  const draft = makePng();
  const events = pictureEvents(0, draft);
  gateway.next(GENERATE, streamOf([typed('start', {}), ...events.slice(0, -1), typed('image.done', { ...doneOf(0, draft), draft: true }), 10], cut));
  records('k', record({ images: 1 }));
  const error = await failure(client().generate({ prompt: 'x' }, { taskId: 'k' }).result());
  assert.deepEqual([error.code, error.paid, error.images.length], ['interrupted', true, 1]);
});

test('kept pictures that have expired are none', async () => {
  const expired = record({ pictures: [{ ...doneOf(0, makePng()), expires: '2026-11-01T00:00:00Z' }] });
  records('k', expired, expired);
  const resumed = await failure(client().resume('k').result());
  assert.deepEqual([resumed.code, resumed.paid], ['interrupted', true]);
  gateway.next(GENERATE, (_, response) => sendProblem(response, 'task_already_completed', 409));
  assert.equal((await failure(client().generate({ prompt: 'x' }, { taskId: 'k' }).result())).code, 'task_already_completed');
});

for (const [name, body] of [['ends early', '{"created":1,"data":[{"b64_json":"iVBO'], ['is no JSON', 'Internal Server Error']]) {
  test(`a one-shot answer that ${name} goes on from the log`, async () => {
    gateway.next('POST /api/generate-image', (_, response) => response.writeHead(200, { 'content-type': 'application/json' }).end(body));
    records('k', record({ status: 'running' }), record({ pictures: [{ ...doneOf(0, makePng()), url: 'https://example.com/0' }] }));
    const events = await collect(client().generateImage({ prompt: 'x' }, { taskId: 'k' }));
    assert.deepEqual(types(events), ['connecting', 'resumed', 'image', 'done']);
    assert.equal(events[1].error.code, 'interrupted');
    assert.equal(gateway.posts().length, 1);
  });
}

test('a reader that cannot be loaded costs nothing: it is loaded before, and an answer without it goes on from the log', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'client-'));
  try {
    cpSync(new URL('../dist/', import.meta.url), folder, { recursive: true });
    rmSync(join(folder, 'chat.js'));
    writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
    const { createImageClient: create } = await import(pathToFileURL(join(folder, 'index.js')));
    const api = create({ url: gateway.url, retry: { retries: 0 }, language: 'en' });
    const code = (promise) => promise.then(() => 'success', (error) => error.code);
    assert.equal(await code(api.generateImage({ prompt: 'x' }).result()), 'network');
    assert.equal(await code(api.generate({ prompt: 'x', format: 'chat' }).result()), 'network');
    assert.equal(gateway.posts().length, 0);
    gateway.next(GENERATE, streamOf(['data: {"choices":[{"delta":{"content":"a"}}]}\n\n']));
    records('k', record({ pictures: [{ ...doneOf(0, makePng()), url: 'https://example.com/0' }] }));
    const events = [];
    for await (const event of api.generate({ prompt: 'x' }, { taskId: 'k' })) events.push(event);
    assert.deepEqual(types(events), ['connecting', 'resumed', 'image', 'done']);
    assert.equal(gateway.posts().length, 1);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('the same key after success is a replay of links', async () => {
  await client().generate({ prompt: 'x' }, { taskId: 'k' }).result();
  const result = await client().generate({ prompt: 'x' }, { taskId: 'k' }).result();
  assert.match(result.images[0].url, /pictures/);
  assert.equal(gateway.upstreamCalls, 1);
});

test('a task that the log does not know is sent again with the same key, even after an event', async () => {
  gateway.next(GENERATE, streamOf([typed('start', {}), typed('text', { index: 0, text: 'lost' }), ...pictureEvents(0, makePng()).slice(0, 2)], cut));
  const run = client().generate({ prompt: 'x' }, { taskId: 'k' });
  const events = await collect(run);
  assert.deepEqual(types(events), ['connecting', 'start', 'text', 'image-start', 'progress', 'resumed', 'retry', 'connecting', 'start', 'process', 'image-start', 'progress', 'image', 'done']);
  assert.deepEqual(gateway.posts().map(({ headers }) => headers['idempotency-key']), ['k', 'k']);
  assert.equal(events.at(-1).result.text, '', 'the text of the lost stream belongs to another picture');
  assert.equal(events.at(-1).result.images[0].bytes, gateway.tasks.get('k').pictures[0].png.length);
});

test('succeeded without pictures is interrupted, and says that it was paid', async () => {
  await gateway.close();
  gateway = await startGateway({ keepPictures: false });
  breakStream(4);
  const error = await failure(client().generate({ prompt: 'x' }).result());
  assert.deepEqual([error.code, error.paid], ['interrupted', true]);
  assert.equal(gateway.upstreamCalls, 1);
});

for (const [code, retryable] of [['content_rejected', false], ['upstream_timeout', true], ['cancelled', false]]) {
  test(`a task that failed with ${code} is that error, and the user decides`, async () => {
    gateway.next(GENERATE, streamOf([typed('start', {})], cut));
    records('k', record({ status: 'failed', code, images: 0 }));
    const error = await failure(client().generate({ prompt: 'x' }, { taskId: 'k' }).result());
    assert.deepEqual([error.code, error.retryable, error.taskId], [code, retryable, 'k']);
    assert.match(error.message, new RegExp(code));
    assert.equal(gateway.posts().length, 1);
  });
}

test('the event stream_interrupted asks the log, which has the rest', async () => {
  gateway.next(GENERATE, streamOf([typed('start', {}), typed('error', { code: 'stream_interrupted', error: 'e', message: 'm' })]));
  records('k', record({ pictures: [{ ...doneOf(0, makePng()), url: 'https://example.com/0' }] }));
  assert.equal((await client().generate({ prompt: 'x' }, { taskId: 'k' }).result()).images.length, 1);
});

test('without an address of the log a broken stream is interrupted, and a 409 is itself', async () => {
  const api = client({ url: { generate: `${gateway.url}/api/generate-stream` } });
  gateway.next(GENERATE, streamOf([typed('start', {})], cut));
  const error = await failure(api.generate({ prompt: 'x' }).result());
  assert.deepEqual([error.code, error.paid], ['interrupted', undefined]);
  gateway.next(GENERATE, (_, response) => sendProblem(response, 'task_in_progress', 409, { retryable: true }));
  assert.equal((await failure(api.generate({ prompt: 'x' }).result())).code, 'task_in_progress');
  assert.equal((await failure(api.resume('k').result())).code, 'interrupted');
});

test('a log at a wrong address ends the run: 404 without task_not_found is not "unknown"', async () => {
  gateway.log = false;
  gateway.next(GENERATE, streamOf([typed('start', {})], cut));
  const error = await failure(client().generate({ prompt: 'x' }).result());
  assert.equal(error.code, 'route_not_found');
  assert.equal(gateway.posts().length, 1);
});

test('offline from the start: the error comes soon, not at the deadline', async () => {
  const { url } = gateway;
  await gateway.close();
  const started = Date.now();
  const error = await failure(createImageClient({ url, retry: { retries: 1, baseMs: 5 } }).generate({ prompt: 'x' }).result());
  assert.equal(error.code, 'network');
  assert.ok(Date.now() - started < 5000);
  gateway = await startGateway();
});

test('the deadline ends the questions; a task that ended in the meantime is still found once', async () => {
  gateway.next(GENERATE, streamOf([typed('start', {})], cut));
  records('k', record({ status: 'running' }));
  const error = await failure(client().generate({ prompt: 'x' }, { taskId: 'k', totalTimeoutMs: 600 }).result());
  assert.equal(error.code, 'timeout');

  gateway.next(GENERATE, streamOf([typed('start', {}), ...Array(50).fill([20, ': ping\n\n']).flat()], stall));
  records('m', record({ pictures: [{ ...doneOf(0, makePng()), url: 'https://example.com/0' }] }));
  const result = await client().generate({ prompt: 'x' }, { taskId: 'm', totalTimeoutMs: 200 }).result();
  assert.equal(result.images.length, 1);
});

test('resume follows a task of another page, at once', async () => {
  await gateway.close();
  gateway = await startGateway({ workMs: 300 });
  const first = client().generate({ prompt: 'x' });
  for await (const event of first) if (event.type === 'process') break;
  const events = await collect(client().resume(first.taskId));
  assert.deepEqual(types(events), ['resumed', 'image', 'done']);
  assert.equal(gateway.posts().length, 1);
  const started = Date.now();
  await client().resume(first.taskId).result();
  assert.ok(Date.now() - started < 900, 'the first question does not wait');
});

test('resume of an unknown task is task_not_found; of a faceflip task, the links of ARK', async () => {
  const error = await failure(client().resume('unknown').result());
  assert.deepEqual([error.code, error.status], ['task_not_found', 404]);
  records('%E4%BB%BB', record({ images: 2, urls: ['https://example.com/1', 'https://example.com/2'] }));
  const { images } = await client().resume('任').result();
  assert.deepEqual(images.map(({ index, url }) => [index, url]), [[0, 'https://example.com/1'], [1, 'https://example.com/2']]);
});

test('a signal stops the questions; cancel of a resumed run asks the server to stop', async () => {
  records('k', ...Array(9).fill(record({ status: 'running' })));
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 50);
  assert.equal((await failure(client().resume('k', { signal: controller.signal }).result())).code, 'aborted');
  const run = client().resume('k');
  const ended = failure(run.result());
  await sleep(30);
  await run.cancel();
  assert.equal((await ended).code, 'aborted');
  assert.equal(gateway.requests.at(-1).method, 'DELETE');
});
