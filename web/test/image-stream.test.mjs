import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { createImageClient } from '../dist/index.js';
import { createImageStream } from '../dist/image-stream.js';
import { cut, doneOf, makePng, pictureEvents, sendProblem, startGateway, streamOf, typed } from './support/gateway.mjs';

const GENERATE = 'POST /api/generate-stream';
/** The expression of the product's document. */
const DOCUMENTED = /!\[image\]\(data:\s*image\/([^;]+);\s*base64,\s*\n?([^)]+)\)/i;
let gateway;
beforeEach(async () => {
  gateway = await startGateway();
});
afterEach(() => gateway.close());

const stream = (options = {}) => createImageStream({ url: gateway.url, retry: { baseMs: 5 }, ...options });
const dataUrl = (png) => `data:image/png;base64,${png.toString('base64')}`;

test('the documented call: progress, the five statuses, and a data URL', async () => {
  const { generateImageStream } = stream();
  const contents = [];
  const statuses = [];
  const result = await generateImageStream({
    prompt: '生成一张婚纱照',
    imageInputs: ['data:image/jpeg;base64,/9j/'],
    n: 4,
    onProgress: (content) => contents.push(content),
    onStatus: (status) => statuses.push(status),
  });
  const { png } = gateway.tasks.get(result.taskId).pictures[0];
  assert.equal(result.imageData.dataUrl, dataUrl(png));
  assert.equal(result.imageData.base64, png.toString('base64'));
  assert.equal(result.imageData.mediaType, 'image/png');
  assert.deepEqual(statuses, ['connecting', 'streaming', 'parsing', 'completed']);
  assert.ok(contents.length >= 4);
  for (const [at, content] of contents.entries()) if (at) assert.ok(content.startsWith(contents[at - 1]), 'it accumulates');
  assert.equal(contents.at(-1), result.content);
  const [, type, payload] = DOCUMENTED.exec(result.content);
  assert.deepEqual([type, payload], ['png', png.toString('base64')]);
  assert.deepEqual(JSON.parse(gateway.posts()[0].body), { prompt: '生成一张婚纱照', image_inputs: ['data:image/jpeg;base64,/9j/'], n: 1, format: 'events' });
});

test('n pictures with multi: each stands in one piece of the content', async () => {
  const pngs = [makePng(900), makePng(900), makePng(900)];
  const events = pngs.map((png, index) => pictureEvents(index, png, 300));
  const mixed = events[0].flatMap((_, at) => events.map((one) => one[at]));
  gateway.next(GENERATE, streamOf([typed('start', {}), ...mixed, typed('text', { index: 0, text: 'end' }), typed('done', { images: pngs.map((png, at) => doneOf(at, png)), failed: [] })]));
  const result = await stream().generateImageStream({ prompt: 'x', n: 3, multi: true });
  assert.equal(JSON.parse(gateway.posts()[0].body).n, 3);
  assert.deepEqual(result.images.map((image) => image.dataUrl), pngs.map(dataUrl));
  assert.equal(result.content, `${pngs.map((png) => `![image](${dataUrl(png)})`).join('')}end`);
});

test('a draft is not in the content, a broken picture is closed', async () => {
  const [draft, broken, final] = [makePng(90), makePng(900), makePng(100)];
  const marked = [typed('image.start', { index: 0, media_type: 'image/png', draft: true }), ...pictureEvents(0, draft).slice(1, -1), typed('image.done', { ...doneOf(0, draft), draft: true })];
  gateway.next(GENERATE, streamOf([...marked, ...pictureEvents(0, broken, 300).slice(0, 2), ...pictureEvents(0, final), typed('done', { images: [doneOf(0, final)], failed: [] })]));
  const { content, imageData } = await stream().generateImageStream({ prompt: 'x' });
  assert.equal(content, `![image](${dataUrl(broken.subarray(0, 300))})![image](${dataUrl(final)})`);
  assert.equal(imageData.dataUrl, dataUrl(final));
});

test('an older backend: chat chunks in every shape of the document', async (t) => {
  const png = makePng();
  const chunk = (delta, finish_reason = null) => `data: ${JSON.stringify({ choices: [{ delta, finish_reason }] })}\n\n`;
  const text = `好的 ![image](${dataUrl(png)})`;
  const pieces = text.match(/[^]{1,500}/g);
  gateway.next(GENERATE, streamOf([chunk({ role: 'assistant', content: '' }), ...pieces.map((content) => chunk({ content })), chunk({ content: '' }, 'stop'), 'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":1290,"total_tokens":1297}}\n\n', 'data: [DONE]\n\n']));
  const { generateImageStream, client } = stream();
  t.mock.method(client, 'generate', client.generate.bind(client));
  const result = await generateImageStream({ prompt: 'x' });
  const run = await client.generate.mock.calls[0].result.result();
  assert.deepEqual(run.usage, { inputTokens: 7, outputTokens: 1290, totalTokens: 1297 });
  assert.equal(result.content, text);
  assert.equal(result.imageData.dataUrl, dataUrl(png));
});

test('a failure: status error, then the rejection', async () => {
  gateway.next(GENERATE, (_, response) => sendProblem(response, 'insufficient_credits', 402));
  const statuses = [];
  await assert.rejects(stream().generateImageStream({ prompt: 'x', onStatus: (status) => statuses.push(status) }), { code: 'insufficient_credits', name: 'ImageStreamError' });
  assert.deepEqual(statuses, ['connecting', 'error']);
});

test('a stream that breaks gives its picture all the same, from the link', async () => {
  gateway.next(GENERATE, streamOf([typed('start', {}), ...pictureEvents(0, makePng()).slice(0, 2)], cut));
  const result = await stream().generateImageStream({ prompt: 'x' });
  const { png } = gateway.tasks.get(result.taskId).pictures[0];
  assert.equal(result.imageData.dataUrl, dataUrl(png));
  assert.equal(DOCUMENTED.exec(result.content)[2], png.toString('base64'), 'the content of the broken stream is gone');
});

test('a picture that the break has cut is not in the content: its link is', async () => {
  const whole = makePng(900);
  const url = 'https://127.0.0.1:1/a(1)(2).png';
  const late = typed('text', { index: 1, text: 'late' });
  gateway.next(GENERATE, streamOf([typed('start', {}), ...pictureEvents(0, makePng(), 600).slice(0, 2), ...pictureEvents(1, whole), late, 10], cut));
  gateway.next('GET /api/generations/k', (_, response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ task_id: 'k', status: 'succeeded', images: 2, pictures: [{ index: 0, url }] }));
  });
  const contents = [];
  const { content } = await stream().generateImageStream({ prompt: 'x', n: 2, multi: true, taskId: 'k', onProgress: (text) => contents.push(text) });
  assert.equal(content, `late![image](${dataUrl(whole)})![image](https://127.0.0.1:1/a%281%29%282%29.png)`);
  assert.equal(contents.at(-1), content);
});

test('text that comes while a picture grows stands behind it', async () => {
  const png = makePng(900);
  const [begin, first, ...rest] = pictureEvents(0, png, 300);
  gateway.next(GENERATE, streamOf([typed('start', {}), begin, first, typed('text', { index: 1, text: 'beside' }), ...rest, typed('done', { images: [doneOf(0, png)], failed: [] })]));
  const { content } = await stream().generateImageStream({ prompt: 'x' });
  assert.equal(content, `![image](${dataUrl(png)})beside`);
});

test('the language reaches the sentences about photos', async () => {
  const heic = new Blob([Buffer.from('000000186674797068656963', 'hex')]);
  globalThis.OffscreenCanvas = class {};
  globalThis.createImageBitmap = () => Promise.reject(new Error('unreadable'));
  try {
    await assert.rejects(stream({ language: 'en' }).generateImageStream({ prompt: 'x', imageInputs: [heic] }), { code: 'invalid_image', message: /^This browser cannot read HEIC/ });
    await assert.rejects(stream({ language: 'zh' }).generateImageStream({ prompt: 'x', imageInputs: [heic] }), { message: /^此浏览器/ });
  } finally {
    delete globalThis.OffscreenCanvas;
    delete globalThis.createImageBitmap;
  }
});

test('a link that cannot be read is its own address', async () => {
  const url = 'http://127.0.0.1:1/a.png';
  gateway.next(GENERATE, streamOf([typed('image.done', { index: 0, url }), typed('done', { images: [{ index: 0, url }], failed: [] })]));
  const { imageData, content } = await stream().generateImageStream({ prompt: 'x' });
  assert.deepEqual(imageData, { dataUrl: url, base64: '', mediaType: '', url });
  assert.equal(content, `![image](${url})`);
});

test('callbacks that throw do not end the stream', async (t) => {
  const reported = t.mock.method(console, 'error', () => {});
  const result = await stream().generateImageStream({ prompt: 'x', onProgress: () => { throw new Error('mine'); } });
  assert.ok(result.imageData);
  assert.ok(reported.mock.callCount() > 0);
});

test('a signal and a task id; a client in place of options', async () => {
  const { generateImageStream } = createImageStream(createImageClient({ url: gateway.url }));
  const controller = new AbortController();
  gateway.next(GENERATE, streamOf([typed('start', {})], () => controller.abort()));
  await assert.rejects(generateImageStream({ prompt: 'x', signal: controller.signal, taskId: 'mine' }), { code: 'aborted', taskId: 'mine' });
  assert.equal(gateway.posts()[0].headers['idempotency-key'], 'mine');
});

test('generateImage: one answer, base64 or a link', async () => {
  const { generateImage } = stream();
  const result = await generateImage({ prompt: 'x', n: 3 });
  const { png } = gateway.tasks.get(result.taskId).pictures[0];
  assert.equal(gateway.posts()[0].path, '/api/generate-image');
  assert.deepEqual([result.imageUrl, result.imageData.base64], [dataUrl(png), png.toString('base64')]);
  const url = 'http://127.0.0.1:1/a.png';
  gateway.next('POST /api/generate-image', (_, response) => response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ created: 1, data: [{ url }] })));
  assert.equal((await generateImage({ prompt: 'x' })).imageUrl, url);
});
