import assert from 'node:assert/strict';
import { after, beforeEach, afterEach, test } from 'node:test';
import { createImageClient, ImageStreamError, toDataUrl } from '../dist/index.js';
import { cut, makePng, pictureEvents, doneOf, problem, sendProblem, sha256, sleep, stall, startGateway, streamOf, typed } from './support/gateway.mjs';

const GENERATE = 'POST /api/generate-stream';
const FAST = { retry: { baseMs: 5, maxMs: 20 }, language: 'en' };
let gateway;
beforeEach(async () => {
  gateway = await startGateway();
});
afterEach(() => gateway.close());

const client = (options = {}) => createImageClient({ url: gateway.url, ...FAST, ...options });
/** A client of a service without a log. */
const withoutLog = (options = {}) => client({ url: { generate: `${gateway.url}/api/generate-stream` }, ...options });

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

const bytesOf = async (blob) => Buffer.from(await blob.arrayBuffer());

test('a picture streams: its events, its progress and its bytes', async () => {
  const run = client().generate({ prompt: 'a cat' });
  assert.match(run.taskId, /^[A-Za-z0-9_.:-]{1,128}$/);
  assert.equal(gateway.requests.length, 0, 'nothing is sent before the run is read');
  const events = await collect(run);
  const types = events.map(({ type }) => type).filter((type, at, all) => type !== all[at - 1]);
  assert.deepEqual(types, ['connecting', 'start', 'process', 'image-start', 'progress', 'image', 'done']);
  const progress = events.filter(({ type }) => type === 'progress').map(({ receivedBytes }) => receivedBytes);
  assert.deepEqual(progress, [1536, 3072, 4000]);
  const { result } = events.at(-1);
  const [image] = result.images;
  const png = gateway.tasks.get(run.taskId).pictures[0].png;
  assert.deepEqual(await bytesOf(image.blob), png);
  assert.equal(image.blob.type, 'image/png');
  assert.deepEqual([image.index, image.bytes, image.sha256, image.width, image.taskId], [0, 4000, sha256(png), 8, run.taskId]);
  assert.match(image.url, /pictures/);
  assert.deepEqual([result.taskId, result.failed, result.resumed, result.usage], [run.taskId, [], false, { totalTokens: 7 }]);
  assert.equal(await run.result(), result);
});

test('the request has the documented body and headers', async () => {
  const request = { prompt: '图像', images: ['data:image/png;base64,AAAA', new Blob([makePng(80)])], n: 2, model: 'm', aspectRatio: '16:9', delivery: 'url' };
  await client({ token: 'secret', headers: { apikey: 'public' } }).generate(request, { taskId: 'my-key' }).result();
  const [{ headers, body }] = gateway.posts();
  const sent = JSON.parse(body);
  assert.match(sent.image_inputs[1], /^data:image\/png;base64,iVBOR/);
  assert.deepEqual({ ...sent, image_inputs: 2 }, { prompt: '图像', image_inputs: 2, n: 2, model: 'm', aspect_ratio: '16:9', delivery: 'url', format: 'events' });
  assert.equal(headers.accept, 'text/event-stream, application/problem+json');
  assert.equal(headers['idempotency-key'], 'my-key');
  assert.equal(headers.authorization, 'Bearer secret');
  assert.equal(headers['content-type'], 'application/json');
  assert.equal(headers['accept-language'], 'en');
  assert.equal(headers.apikey, 'public');
  assert.equal(headers['last-event-id'], undefined);
  assert.equal(headers['cache-control'], undefined, 'no-store would cost a preflight for each POST');
});

test('n pictures arrive interleaved; one slot fails, the others stay', async () => {
  const pngs = [makePng(3000), makePng(3000)];
  const [a, b] = pngs.map((png, at) => pictureEvents(at * 2, png, 999));
  const mixed = a.flatMap((event, at) => [event, b[at]]);
  const failed = [{ index: 1, code: 'content_rejected', message: 'no' }];
  gateway.next(GENERATE, streamOf([...mixed, typed('done', { images: pngs.map((png, at) => doneOf(at * 2, png)), failed })]));
  const result = await client().generate({ prompt: 'x', n: 3 }).result();
  assert.deepEqual(result.images.map(({ index }) => index), [0, 2]);
  for (const [at, image] of result.images.entries()) assert.deepEqual(await bytesOf(image.blob), pngs[at]);
  assert.deepEqual(result.failed, failed);
});

test('a draft is replaced, and is the result where no final picture follows', async () => {
  const [draft, final, other] = [makePng(500), makePng(600), makePng(700)];
  const marked = (png, index) => [typed('image.start', { index, media_type: 'image/png', draft: true }), ...pictureEvents(index, png).slice(1, -1), typed('image.done', { ...doneOf(index, png), draft: true })];
  const done = typed('done', { images: [doneOf(0, final), { ...doneOf(1, other), draft: true }], failed: [] });
  gateway.next(GENERATE, streamOf([...marked(draft, 0), ...pictureEvents(0, final), ...marked(other, 1), done]));
  const { images } = await client().generate({ prompt: 'x' }).result();
  assert.deepEqual(await bytesOf(images[0].blob), final);
  assert.deepEqual(await bytesOf(images[1].blob), other);
  assert.equal(images[1].draft, true);
});

test('an unfinished picture is discarded when another begins in its slot', async () => {
  const [broken, whole] = [makePng(5000), makePng(600)];
  gateway.next(GENERATE, streamOf([...pictureEvents(0, broken, 1000).slice(0, 3), ...pictureEvents(0, whole), typed('done', { images: [doneOf(0, whole)], failed: [] })]));
  const { images } = await client().generate({ prompt: 'x' }).result();
  assert.deepEqual(await bytesOf(images[0].blob), whole);
});

test('a picture that is a link, with image.stored and delivery url', async () => {
  const link = { index: 0, media_type: 'image/png', bytes: 9, url: 'https://example.com/a.png', url_expires: '2026-11-21T09:00:00Z' };
  gateway.next(GENERATE, streamOf([typed('image.done', link), typed('image.stored', { index: 0, url: 'https://example.com/kept.png', url_expires: 'later' }), typed('done', { images: [{ ...link, url: 'https://example.com/kept.png' }], failed: [] })]));
  const events = await collect(client().generate({ prompt: 'x', delivery: 'url' }));
  assert.deepEqual(events.find(({ type }) => type === 'stored').url, 'https://example.com/kept.png');
  const [image] = events.at(-1).result.images;
  assert.deepEqual([image.url, image.urlExpires, image.blob], ['https://example.com/kept.png', '2026-11-21T09:00:00Z', undefined]);
});

test('faceflip: documented events, old and new', async () => {
  const generated = [{ url: 'https://example.com/1.jpg', size: '2K' }, { url: 'https://example.com/2.jpg', size: '2K' }];
  const task_id = '任务 1';
  gateway.next('POST /api/v1/faceflip/generate/stream', streamOf([typed('start', { task_id, message: '开始生成图像...' }), typed('process', { task_id, message: '正在调用ARK模型生成图像...' }), typed('done', { urls: ['https://example.com/in.jpg'], generated_images: generated, task_id })]));
  const events = await collect(client().faceflip({ urls: ['https://example.com/in.jpg'], taskId: task_id, prompt: 'p' }));
  const [{ body, headers }] = gateway.posts();
  assert.deepEqual(JSON.parse(body), { urls: ['https://example.com/in.jpg'], task_id, prompt: 'p' });
  assert.equal(headers['idempotency-key'], undefined, 'a task id may be no header value');
  assert.deepEqual(events.filter(({ type }) => type === 'image').map(({ image }) => [image.index, image.url, image.size]), [[0, 'https://example.com/1.jpg', '2K'], [1, 'https://example.com/2.jpg', '2K']]);
  assert.equal(events.find(({ type }) => type === 'process').message, '正在调用ARK模型生成图像...');

  gateway.next('POST /api/v1/faceflip/generate/stream', streamOf([typed('error', { task_id, error: '原因', message: '图像生成失败', code: 'content_rejected', retryable: false })]));
  const error = await failure(client().faceflip({ urls: ['https://example.com/in.jpg'] }).result());
  assert.deepEqual([error.code, error.message], ['content_rejected', '原因']);
});

test('the one-shot route: pictures of its JSON answer, and no idle timeout', async () => {
  await gateway.close();
  gateway = await startGateway({ workMs: 300 });
  const events = await collect(client({ idleTimeoutMs: 50 }).generateImage({ prompt: 'x' }));
  assert.equal(gateway.posts()[0].path, '/api/generate-image');
  const [image] = events.at(-1).result.images;
  const [{ png }] = [...gateway.tasks.values()][0].pictures;
  assert.deepEqual(await bytesOf(image.blob), png);
  assert.deepEqual([image.mediaType, image.width, image.blob.type], ['image/png', 8, 'image/png']);
});

test('previews hold the bytes so far', async () => {
  const png = makePng(6000);
  const events = pictureEvents(0, png, 1000);
  gateway.next(GENERATE, streamOf([...events.flatMap((event) => [event, 15]), typed('done', { images: [doneOf(0, png)], failed: [] })]));
  const seen = await collect(client({ previewIntervalMs: 10 }).generate({ prompt: 'x' }));
  const previews = seen.filter(({ type }) => type === 'preview');
  assert.ok(previews.length >= 3, `${previews.length} previews`);
  for (const { blob, receivedBytes } of previews) assert.deepEqual(await bytesOf(blob), png.subarray(0, receivedBytes));
  assert.deepEqual(await bytesOf(seen.at(-1).result.images[0].blob), png);

  gateway.next(GENERATE, streamOf([...events.flatMap((event) => [event, 5]), typed('done', { images: [doneOf(0, png)], failed: [] })]));
  const none = await collect(client({ previewIntervalMs: 0 }).generate({ prompt: 'x' }));
  assert.equal(none.filter(({ type }) => type === 'preview').length, 0);
});

// Ends of a stream

for (const [name, parts, code] of [
  ['before any event', [': padding\n\n'], 'interrupted'],
  ['after start', [typed('start', { task_id: 't' })], 'interrupted'],
  ['within a picture', pictureEvents(0, makePng()).slice(0, 2), 'interrupted'],
  ['before done', pictureEvents(0, makePng()), 'interrupted'],
  ['within an event', [typed('start', {}), 'data: {"event":"done","data":{'], 'interrupted'],
]) {
  test(`a stream that ends ${name} is an error`, async () => {
    gateway.next(GENERATE, streamOf(parts));
    const error = await failure(withoutLog({ retry: false }).generate({ prompt: 'x' }).result());
    assert.equal(error.code, code);
    assert.equal(error.images.length, name === 'before done' ? 1 : 0, 'pictures that are whole stay valid');
  });
}

test('a connection that is reset within a picture is an error with what was whole', async () => {
  const png = makePng();
  gateway.next(GENERATE, streamOf([...pictureEvents(0, png), ...pictureEvents(1, makePng()).slice(0, 2), 20], cut));
  const run = withoutLog().generate({ prompt: 'x', n: 2 });
  const error = await failure(run.result());
  assert.deepEqual([error.code, error.taskId, error.retryable], ['interrupted', run.taskId, true]);
  assert.deepEqual(await bytesOf(error.images[0].blob), png);
  assert.equal(gateway.posts().length, 1, 'an event came, so nothing is sent again');
});

test('events behind the terminal one are not read', async () => {
  const png = makePng();
  gateway.next(GENERATE, streamOf([...pictureEvents(0, png), typed('done', { images: [doneOf(0, png)], failed: [] }) + typed('error', { code: 'late' })], stall));
  const events = await collect(client().generate({ prompt: 'x' }));
  assert.equal(events.at(-1).type, 'done');
});

for (const [name, parts] of [
  ['image.done without image.start', [typed('image.done', doneOf(0, makePng()))]],
  ['image.delta without image.start', [typed('image.delta', { index: 0, b64: 'AAAA' })]],
  ['image.done with another length', [...pictureEvents(0, makePng(100)).slice(0, 2), typed('image.done', doneOf(0, makePng(101)))]],
  ['base64 that is not valid', [typed('image.start', { index: 0 }), typed('image.delta', { index: 0, b64: '*' })]],
  ['b64 of another type', [typed('image.start', { index: 0 }), typed('image.delta', { index: 0, b64: 7 })]],
  ['malformed JSON', ['event: start\ndata: {"event":\n\n']],
  ['done with a picture that never came', [typed('done', { images: [doneOf(0, makePng())], failed: [] })]],
]) {
  test(`${name} is a failure with a code`, async () => {
    gateway.next(GENERATE, streamOf([typed('start', {}), ...parts, typed('done', { images: [], failed: [] })]));
    const error = await failure(withoutLog({ retry: false }).generate({ prompt: 'x' }).result());
    assert.equal(error.code, 'protocol');
  });
}

test('unknown events and members are ignored', async () => {
  const png = makePng();
  gateway.next(GENERATE, streamOf([typed('new.event', { a: 1 }), 'data: null\n\n', 'data: [1, 2, 3]\n\n', 'event: other\ndata: {}\n\n', ...pictureEvents(0, png), typed('done', { images: [{ ...doneOf(0, png), new_member: 1 }], failed: [], later: 2 })]));
  assert.equal((await client().generate({ prompt: 'x' }).result()).images.length, 1);
});

test('an error event has the code, the sentence and the wait of the server', async () => {
  gateway.next(GENERATE, streamOf([typed('start', {}), typed('error', { task_id: 't', code: 'upstream_timeout', error: '生成超时', message: '失败', retryable: true, retry_after_ms: 1000, request_id: 'r-9' })]));
  const error = await failure(client().generate({ prompt: 'x' }).result());
  assert.deepEqual([error.code, error.message, error.retryable, error.retryAfterMs, error.requestId], ['upstream_timeout', '生成超时', true, 1000, 'r-9']);
  assert.equal(gateway.posts().length, 1, 'it may have been paid: the user decides');
});

// Refusals

test('a problem document becomes an error, and is not retried', async () => {
  gateway.next(GENERATE, (_, response) => sendProblem(response, 'invalid_request', 400, { errors: [{ pointer: '/image_inputs', code: 'invalid_request' }] }));
  const error = await failure(client().generate({ prompt: 'x' }).result());
  assert.deepEqual([error.code, error.status, error.message, error.requestId, error.retryable], ['invalid_request', 400, 'sentence of invalid_request', 'r-1', false]);
  assert.deepEqual(error.errors, [{ pointer: '/image_inputs', code: 'invalid_request' }]);
  assert.equal(gateway.posts().length, 1);
});

for (const [status, body, code, type = 'text/html'] of [
  [413, '<html>Request Entity Too Large', 'payload_too_large'],
  [413, '{"Message":null}', 'payload_too_large', 'application/json'],
  [403, '{"Message":"Forbidden"}', 'http_403', 'application/json'],
  [502, 'Internal Server Error', 'http_502'],
  [429, '', 'rate_limited'],
  [401, 'no', 'token_invalid'],
  [400, '{"error":"text of an older backend"}', 'http_400', 'application/json'],
  [400, '{"error":{"code":400,"message":"nested"}}', 'http_400', 'application/json'],
  [500, '{"code":"x","error":null,"status":"error"}', 'http_500', 'application/json'],
]) {
  test(`a plain ${status} of the platform, ${body || 'empty'}, is tolerated`, async () => {
    gateway.next(GENERATE, (_, response) => response.writeHead(status, { 'content-type': type }).end(body));
    const error = await failure(client({ retry: false }).generate({ prompt: 'x' }).result());
    assert.deepEqual([error.code, error.status], [code, status]);
    assert.ok(error.message.length > 3);
    if (body.includes('older')) assert.equal(error.message, 'text of an older backend');
  });
}

test('a page in place of a stream is a protocol error that names its type', async () => {
  gateway.next(GENERATE, (_, response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html>'));
  const error = await failure(client().generate({ prompt: 'x' }).result());
  assert.equal(error.code, 'protocol');
  assert.match(error.message, /text\/html/);
  assert.equal(gateway.posts().length, 1);
});

test('a body beyond the limit is refused before it is sent', async () => {
  const error = await failure(client({ language: 'zh' }).generate({ prompt: 'x', images: [`data:image/png;base64,${'A'.repeat(6 << 20)}`] }).result());
  assert.equal(error.code, 'payload_too_large');
  assert.match(error.message, /太大/);
  assert.equal(gateway.requests.length, 0);
  const chinese = await failure(client({ maxBodyBytes: 3000 }).generate({ prompt: '图'.repeat(1200) }).result());
  assert.equal(chinese.code, 'payload_too_large', 'bytes are counted, not characters');
});

// Retries

test('429 waits as long as Retry-After says, with the same key', async () => {
  gateway.next(GENERATE, (_, response) => sendProblem(response, 'rate_limited', 429, { retryable: true }, { 'retry-after': '1' }));
  const run = client().generate({ prompt: 'x' });
  const events = await collect(run);
  const retry = events.find(({ type }) => type === 'retry');
  assert.deepEqual([retry.attempt, retry.delayMs, retry.error.code], [2, 1000, 'rate_limited']);
  const [first, second] = gateway.posts();
  assert.ok(second.at - first.at >= 990, `${second.at - first.at} ms`);
  assert.equal(first.headers['idempotency-key'], second.headers['idempotency-key']);
  assert.equal(first.headers['idempotency-key'], run.taskId);
  assert.deepEqual(events.filter(({ type }) => type === 'connecting').map(({ attempt }) => attempt), [1, 2]);
});

test('retry_after_ms of the body wins over the rounded header', async () => {
  gateway.next(GENERATE, (_, response) => sendProblem(response, 'rate_limited', 429, { retryable: true, retry_after_ms: 120 }, { 'retry-after': '1' }));
  const events = await collect(client().generate({ prompt: 'x' }));
  assert.equal(events.find(({ type }) => type === 'retry').delayMs, 120);
});

test('a wait longer than maxRetryAfterMs is thrown at once', async () => {
  gateway.next(GENERATE, (_, response) => sendProblem(response, 'rate_limited', 429, { retryable: true, retry_after_ms: 90_000 }));
  const error = await failure(client().generate({ prompt: 'x' }).result());
  assert.deepEqual([error.code, error.retryAfterMs], ['rate_limited', 90_000]);
  assert.equal(gateway.posts().length, 1);
});

test('attempts end: two retries, then the error', async () => {
  for (let left = 5; left > 0; left--) gateway.next(GENERATE, (_, response) => sendProblem(response, 'upstream_busy', 503, { retryable: true, retry_after_ms: 1 }));
  const error = await failure(client().generate({ prompt: 'x' }).result());
  assert.equal(error.code, 'upstream_busy');
  assert.equal(gateway.posts().length, 3);
});

for (const [code, status] of [['no_image', 502], ['upstream_timeout', 504], ['upstream_error', 502], ['stream_interrupted', 502], ['internal_error', 500], ['insufficient_credits', 402], ['task_id_reused', 422]]) {
  test(`${code} is not sent again: it may have been paid, or cannot succeed`, async () => {
    gateway.next(GENERATE, (_, response) => sendProblem(response, code, status, { retryable: status > 499, retry_after_ms: 1 }));
    const error = await failure(withoutLog().generate({ prompt: 'x' }).result());
    assert.equal(error.code, code);
    assert.equal(gateway.posts().length, 1);
  });
}

test('a connection that breaks before the first event is tried again, with the same key', async () => {
  gateway.next(GENERATE, (_, response) => response.destroy());
  gateway.next(GENERATE, streamOf([': padding\n\n']));
  const run = client().generate({ prompt: 'x' });
  const events = await collect(run);
  assert.deepEqual(events.filter(({ type }) => type === 'retry').map(({ error }) => error.code), ['network', 'interrupted']);
  assert.deepEqual(new Set(gateway.posts().map(({ headers }) => headers['idempotency-key'])), new Set([run.taskId]));
  assert.equal(gateway.upstreamCalls, 1);
});

test('retry: false sends one POST', async () => {
  gateway.next(GENERATE, (_, response) => response.destroy());
  assert.equal((await failure(withoutLog({ retry: false }).generate({ prompt: 'x' }).result())).code, 'network');
  assert.equal(gateway.posts().length, 1);
});

// Tokens

test('the token is asked for before every request, and once more after a 401', async () => {
  await gateway.close();
  gateway = await startGateway({ token: 'fresh' });
  const asked = [];
  const result = await client({ token: async ({ refresh }) => (asked.push(refresh), refresh ? 'fresh' : 'stale') }).generate({ prompt: 'x' }).result();
  assert.equal(result.images.length, 1);
  assert.deepEqual(asked, [false, true]);
  assert.deepEqual(gateway.posts().map(({ headers }) => headers.authorization), ['Bearer stale', 'Bearer fresh']);
  await client({ token: 'fresh' }).generations();
});

for (const [name, token, posts] of [
  ['the same token again', () => 'stale', 1],
  ['another token that is refused too', ({ refresh }) => `stale ${refresh}`, 2],
  ['a fixed token', 'stale', 1],
  ['no token', undefined, 1],
]) {
  test(`401 with ${name} ends after ${posts} POST`, async () => {
    await gateway.close();
    gateway = await startGateway({ token: 'fresh' });
    const error = await failure(client({ token }).generate({ prompt: 'x' }).result());
    assert.deepEqual([error.code, error.status], ['token_expired', 401]);
    await sleep(50);
    assert.equal(gateway.posts().length, posts);
  });
}

test('a token function that never answers has a timeout of its own', async () => {
  const error = await failure(client({ token: () => new Promise(() => {}), tokenTimeoutMs: 30, retry: false }).generate({ prompt: 'x' }).result());
  assert.equal(error.code, 'timeout');
  assert.equal(gateway.requests.length, 0);
});

// Stopping

test('a signal that is aborted already sends nothing', async () => {
  const signal = AbortSignal.abort();
  const error = await failure(client().generate({ prompt: 'x' }, { signal }).result());
  assert.equal(error.code, 'aborted');
  await sleep(30);
  assert.equal(gateway.requests.length, 0);
});

test('a signal stops a silent stream, and rejects; the server is not asked to stop', async () => {
  gateway.next(GENERATE, streamOf([typed('start', {})], stall));
  const controller = new AbortController();
  const run = client().generate({ prompt: 'x' }, { signal: controller.signal });
  setTimeout(() => controller.abort('any reason'), 60);
  const started = Date.now();
  const error = await failure(run.result());
  assert.deepEqual([error.code, error.message], ['aborted', 'Cancelled']);
  assert.ok(Date.now() - started < 1000);
  assert.deepEqual(gateway.requests.map(({ method }) => method), ['POST']);
});

test('break aborts the request', async () => {
  let closed;
  const isClosed = new Promise((resolve) => (closed = resolve));
  gateway.next(GENERATE, async (request, response) => {
    response.on('close', closed);
    await streamOf([typed('start', {})], stall)(request, response);
  });
  const run = client().generate({ prompt: 'x' });
  for await (const event of run) if (event.type === 'start') break;
  await isClosed;
  assert.equal((await failure(run.result())).code, 'aborted');
});

test('cancel stops reading and sends DELETE, and the task ends', async () => {
  await gateway.close();
  gateway = await startGateway({ workMs: 100, pictureBytes: 9000, pauseMs: 30 });
  const run = client({ token: 'secret' }).generate({ prompt: 'x' });
  const error = await failure((async () => {
    for await (const event of run) if (event.type === 'process') void run.cancel();
  })());
  assert.equal(error.code, 'aborted');
  await sleep(50);
  const remove = gateway.requests.find(({ method }) => method === 'DELETE');
  assert.equal(remove.path, `/api/generations/${run.taskId}`);
  assert.equal(remove.headers.authorization, 'Bearer secret');
  await sleep(150);
  assert.equal(gateway.tasks.get(run.taskId).status, 'failed');
});

test('an early cancel asks again until the record is there', async () => {
  gateway.next(GENERATE, async (_request, response) => {
    await sleep(300);
    gateway.tasks.set('k', { id: 'k', n: 1, status: 'running', attempts: 1, pictures: [], readers: [] });
    response.destroy();
  });
  const run = client().generate({ prompt: 'x' }, { taskId: 'k' });
  const ended = failure(run.result());
  while (!gateway.posts().length) await sleep(5);
  await run.cancel();
  assert.equal((await ended).code, 'aborted');
  assert.equal(gateway.tasks.get('k').cancelled, true);
  assert.deepEqual(gateway.requests.map(({ method }) => method), ['POST', 'DELETE', 'DELETE']);
});

test('cancel before anything is sent sends nothing, and never rejects', async () => {
  const run = client().generate({ prompt: 'x' });
  await run.cancel();
  assert.equal((await failure(run.result())).code, 'aborted');
  assert.equal(gateway.requests.length, 0);
  const other = withoutLog().generate({ prompt: 'x' });
  for await (const event of other) if (event.type === 'start') break;
  await other.cancel();
});

test('a run can be iterated once; result waits for the loop', async () => {
  const run = client().generate({ prompt: 'x' });
  const loop = collect(run);
  const result = run.result();
  assert.throws(() => run[Symbol.asyncIterator](), /twice/);
  assert.equal((await result).images.length, 1);
  assert.equal((await loop).at(-1).type, 'done');
  assert.equal(gateway.posts().length, 1);
});

test('a fetch that ignores its signal does not hold the run', async () => {
  const controller = new AbortController();
  const run = client({ fetch: () => new Promise(() => {}) }).generate({ prompt: 'x' }, { signal: controller.signal });
  setTimeout(() => controller.abort(), 20);
  assert.equal((await failure(run.result())).code, 'aborted');
});

// Time

test('silence is a timeout, pings are not silence', async () => {
  gateway.next(GENERATE, streamOf([typed('start', {}), ...Array(8).fill([60, ': ping\n\n']).flat()], stall));
  const started = Date.now();
  const error = await failure(withoutLog({ idleTimeoutMs: 150 }).generate({ prompt: 'x' }).result());
  assert.equal(error.code, 'timeout');
  assert.ok(Date.now() - started > 480, 'pings put it off');
  assert.ok(Date.now() - started < 3000);
});

test('endless pings end at the total time', async () => {
  gateway.next(GENERATE, streamOf([typed('start', {}), ...Array(100).fill([20, ': ping\n\n']).flat()], stall));
  const started = Date.now();
  const error = await failure(withoutLog().generate({ prompt: 'x' }, { totalTimeoutMs: 300 }).result());
  assert.equal(error.code, 'timeout');
  assert.ok(Date.now() - started < 1500);
});

test('a slow upload is not silence', async () => {
  // 3 MB in 600 ms: a large body has more time than the idle timeout.
  const slow = async (input, init) => {
    await sleep(600);
    return fetch(input, init);
  };
  const events = await collect(client({ fetch: slow, idleTimeoutMs: 200 }).generate({ prompt: 'x', images: [`data:image/png;base64,${'A'.repeat(3e6)}`] }));
  assert.deepEqual([...new Set(events.map(({ type }) => type))].filter((type) => /retry|resumed/.test(type)), []);
  assert.equal(gateway.posts().length, 1);
});

test('options that are undefined are the defaults', async () => {
  const none = { idleTimeoutMs: undefined, totalTimeoutMs: undefined };
  const run = client({ ...none, retry: { retries: 0, baseMs: undefined } }).generate({ prompt: 'x' }, none);
  assert.equal((await run.result()).images.length, 1);
  assert.equal((await createImageClient({ url: gateway.url, retry: undefined, fetch: undefined }).generate({ prompt: 'x' }).result()).images.length, 1);
});

test('a head that never comes is a timeout, and is tried again with the same key', async () => {
  gateway.next(GENERATE, stall);
  const run = client({ idleTimeoutMs: 80 }).generate({ prompt: 'x' });
  const events = await collect(run);
  assert.equal(events.find(({ type }) => type === 'retry').error.code, 'timeout');
  assert.equal(events.at(-1).type, 'done');
});

test('a timer that fires late, after sleep, is not read as silence', async () => {
  const png = makePng();
  gateway.next(GENERATE, streamOf([typed('start', {}), 30, ...pictureEvents(0, png), typed('done', { images: [doneOf(0, png)], failed: [] })]));
  const run = withoutLog({ idleTimeoutMs: 200 }).generate({ prompt: 'x' });
  const realNow = Date.now;
  try {
    for await (const event of run) {
      if (event.type !== 'start') continue;
      // The page sleeps for an hour: the clock moves on, timers fire late, the bytes wait in the socket.
      setTimeout(() => {
        Date.now = () => realNow() + 300_000;
        const until = realNow() + 400;
        while (realNow() < until);
      });
    }
    assert.equal((await run.result()).images.length, 1);
  } finally {
    Date.now = realNow;
  }
});

test('the consumer may be slow: its own time is not the silence of the server', async () => {
  const run = withoutLog({ idleTimeoutMs: 100 }).generate({ prompt: 'x' });
  for await (const event of run) if (event.type === 'progress') await sleep(250);
  assert.equal((await run.result()).images.length, 1);
});

// Others

test('sentences are Chinese or English, by option or by the browser', async () => {
  const sentence = async (options) => (await failure(createImageClient({ url: gateway.url, retry: false, fetch: () => Promise.reject(new TypeError('Load failed')), ...options }).generations())).message;
  assert.equal(await sentence({ language: 'en' }), 'Network failure');
  assert.equal(await sentence({ language: 'zh' }), '网络连接失败');
  const real = Object.getOwnPropertyDescriptor(globalThis, 'navigator');
  for (const [languages, expected] of [[['fr', 'en-GB', 'zh'], 'Network failure'], [['zh-CN', 'en'], '网络连接失败'], [['fr'], '网络连接失败']]) {
    Object.defineProperty(globalThis, 'navigator', { value: { languages }, configurable: true });
    assert.equal(await sentence({}), expected, `${languages}`);
  }
  if (real) Object.defineProperty(globalThis, 'navigator', real);
  else delete globalThis.navigator;
});

test('the log: list, item, cancel, erase, under the names of TypeScript', async () => {
  const api = client();
  const { taskId } = await api.generate({ prompt: 'x' }).result();
  const page = await api.generations({ limit: 5, cursor: 'a b' });
  assert.equal(gateway.requests.at(-1).url, '/api/generations?limit=5&cursor=a+b');
  assert.deepEqual([page.items[0].taskId, page.items[0].status, page.rate.resetMs, page.next], [taskId, 'succeeded', 8, null]);
  const item = await api.generation(taskId);
  assert.match(item.pictures[0].urlExpires, /T/);
  assert.deepEqual([item, ...page.items].map(({ pictures }) => pictures[0].taskId), [taskId, taskId], 'client.blob needs it');
  await api.generations({ limit: 2, cursor: undefined });
  assert.equal(gateway.requests.at(-1).url, '/api/generations?limit=2');
  assert.equal((await api.cancel(taskId)).status, 'succeeded');
  assert.equal(await api.erasePictures(taskId), undefined);
  assert.deepEqual(gateway.requests.slice(-2).map(({ method, path }) => `${method} ${path}`), [`DELETE /api/generations/${taskId}`, `DELETE /api/generations/${taskId}/pictures`]);
  assert.equal((await failure(api.generation('a/b?c'))).code, 'task_not_found');
  assert.equal(gateway.requests.at(-1).path, '/api/generations/a%2Fb%3Fc');
  assert.equal((await failure(api.generations({ signal: AbortSignal.abort() }))).code, 'aborted');
});

test('blob: bytes of the stream, of the link, and of a fresh link after 403; never with the token', async () => {
  const api = client({ token: 'secret' });
  const { images: [image], taskId } = await api.generate({ prompt: 'x' }).result();
  const { png } = gateway.tasks.get(taskId).pictures[0];
  assert.deepEqual(await bytesOf(await api.blob(image)), png);
  const { blob: _, ...linked } = image;
  assert.deepEqual(await bytesOf(await api.blob(linked)), png);
  const expired = { ...linked, url: `${gateway.url}/pictures/none/0` };
  assert.deepEqual(await bytesOf(await api.blob(expired)), png);
  assert.equal(gateway.requests.filter(({ path }) => path === `/api/generations/${taskId}`).length, 1);
  assert.equal((await failure(api.blob({ ...expired, index: 7 }))).code, 'http_403');
  assert.equal((await failure(api.blob({ ...linked, bytes: 1 }))).code, 'interrupted');
});

test('blob: a host that is silent, cannot be reached or breaks off, and a signal', async () => {
  const api = client({ idleTimeoutMs: 100 });
  const image = { taskId: 't', index: 0, url: `${gateway.url}/pictures/t/0` };
  gateway.next('GET /pictures/t/0', stall);
  assert.equal((await failure(api.blob(image))).code, 'timeout');
  for (const last of [stall, cut]) {
    gateway.next('GET /pictures/t/0', streamOf(['half'], last));
    assert.equal((await failure(api.blob(image))).code, last === cut ? 'network' : 'timeout');
  }
  assert.equal((await failure(api.blob({ ...image, url: 'http://127.0.0.1:1/a.png' }))).code, 'network');
  gateway.next('GET /pictures/t/0', stall);
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 20);
  assert.equal((await failure(client().blob(image, { signal: controller.signal }))).code, 'aborted');
});

test('blob: an expired link of a picture that has expired too is 403', async () => {
  gateway.next('GET /api/generations/t', (_, response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ task_id: 't', status: 'succeeded', images: 1, pictures: [{ index: 0, expires: '2026-11-01T00:00:00Z' }] }));
  });
  const error = await failure(client().blob({ taskId: 't', index: 0, url: `${gateway.url}/pictures/t/0` }));
  assert.equal(error.code, 'http_403');
  assert.equal(gateway.requests.length, 2, 'nothing is fetched from the address "undefined"');
});

test('addresses: a base with or without a slash, or one for each route', async () => {
  await createImageClient({ url: `${gateway.url}/` }).generate({ prompt: 'x' }).result();
  assert.equal(gateway.requests.at(-1).path, '/api/generate-stream');
  const api = createImageClient({ url: { generate: `${gateway.url}/api/generate-stream` } });
  await api.generate({ prompt: 'x' }).result();
  assert.throws(() => api.faceflip({ urls: [] }), /url.faceflip/);
  for (const call of [() => api.generations(), () => api.generation('k'), () => api.cancel('k'), () => api.erasePictures('k')]) {
    await assert.rejects(call, (error) => error instanceof TypeError && /url.generations is missing/.test(error.message));
  }
});

test('toDataUrl finds the media type in the bytes', async () => {
  const png = makePng(20_000);
  assert.equal(await toDataUrl(new Blob([png], { type: 'image/jpeg' })), `data:image/png;base64,${png.toString('base64')}`);
  assert.match(await toDataUrl(new Blob([Buffer.from('ffd8ffe0', 'hex')])), /^data:image\/jpeg;base64,/);
  assert.match(await toDataUrl(new Blob(['RIFF1234WEBPVP8 '])), /^data:image\/webp;/);
  assert.match(await toDataUrl(new Blob(['<svg/>'], { type: 'image/svg+xml' })), /^data:image\/svg\+xml;/);
});

test('the fallback for browsers without Uint8Array.fromBase64 gives the same bytes', async () => {
  const native = Uint8Array.fromBase64;
  for (const available of [undefined, (text) => new Uint8Array(Buffer.from(text, 'base64'))]) {
    Uint8Array.fromBase64 = available;
    const { images: [image], taskId } = await client().generate({ prompt: 'x' }).result();
    assert.deepEqual(await bytesOf(image.blob), gateway.tasks.get(taskId).pictures[0].png);
  }
  if (native) Uint8Array.fromBase64 = native;
  else delete Uint8Array.fromBase64;
});
