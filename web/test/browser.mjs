// Measures the client in Chromium: the longest task of the main thread and the heap that is kept, for one 4 MB picture in
// 16 KB deltas, with naive code beside it; and the photo worker with a real canvas. Not part of `npm test`.
import assert from 'node:assert/strict';
import { createReadStream, existsSync } from 'node:fs';
import { createServer } from 'node:http';
import { chromium } from 'playwright-core';
import { doneOf, makePng, pictureEvents, sha256, typed } from './support/gateway.mjs';

const BYTES = 4_190_227;
const REPEATS = 5;
const executablePath = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
if (!executablePath) throw new Error('no Chromium is installed');

const png = makePng(BYTES, 'one picture');
const start = typed('start', { task_id: 't', n: 1, message: 'm' });
const events = [start, ...pictureEvents(0, png), typed('done', { images: [doneOf(0, png)], failed: [] })];
const chunk = (content, finish_reason = null) => `data: ${JSON.stringify({ id: 'c', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{ index: 0, delta: { content }, finish_reason }] })}\n\n`;
const markdown = `![image](data:image/png;base64,${png.toString('base64')})`;
const chat = [...markdown.match(/[^]{1,16384}/g).map((delta) => chunk(delta)), chunk('', 'stop'), 'data: [DONE]\n\n'];

const dist = new URL('../dist/', import.meta.url);
const server = createServer(async (request, response) => {
  if (request.url === '/') return response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>t</title><img>');
  if (request.url.startsWith('/dist/')) {
    response.writeHead(200, { 'content-type': 'text/javascript' });
    return createReadStream(new URL(request.url.slice('/dist/'.length), dist)).pipe(response);
  }
  if (request.method !== 'POST') return response.writeHead(404).end();
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  const isChat = JSON.parse(Buffer.concat(pieces)).format === 'chat';
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  for (const event of isChat ? chat : events) if (!response.write(event)) await new Promise((resolve) => response.once('drain', resolve));
  response.end();
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));

const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
const page = await (await browser.newContext()).newPage();
await page.addInitScript(() => {
  window.ways = {
    async ours(format) {
      const { createImageClient } = await import('/dist/index.js');
      const { images: [{ blob }] } = await createImageClient().generate({ prompt: 'x', format }).result();
      return { src: URL.createObjectURL(blob), blob };
    },
    /** The document's way, corrected just so far that it finds its events. */
    async naive(render) {
      const response = await fetch('/api/generate-stream', { method: 'POST', body: '{"format":"chat"}' });
      const reader = response.body.getReader();
      const utf8 = new TextDecoder();
      const find = /!\[image\]\(data:\s*image\/([^;]+);\s*base64,\s*\n?([^)]+)\)/i;
      let buffer = '';
      let content = '';
      let match;
      for (let read; !(read = await reader.read()).done; ) {
        buffer += utf8.decode(read.value, { stream: true });
        const parts = buffer.split('\n\n');
        buffer = parts.pop();
        for (const part of parts) {
          const data = part.slice('data: '.length);
          if (data === '[DONE]') continue;
          content += JSON.parse(data).choices[0].delta.content;
          if (render) match = content.match(find);
        }
      }
      match ??= content.match(find);
      return { src: `data:image/${match[1]};base64,${match[2]}` };
    },
  };
  window.measure = async (name, argument) => {
    const tasks = [];
    const observer = new PerformanceObserver((list) => tasks.push(...list.getEntries().map(({ duration }) => duration)));
    observer.observe({ entryTypes: ['longtask'] });
    const started = performance.now();
    window.kept = await window.ways[name](argument);
    const ms = performance.now() - started;
    await new Promise((resolve) => setTimeout(resolve, 200));
    observer.disconnect();
    return { longestTask: Math.max(0, ...tasks), blocked: tasks.reduce((sum, task) => sum + task - 50, 0), ms };
  };
});

const address = `http://127.0.0.1:${server.address().port}/`;
const devtools = await page.context().newCDPSession(page);
async function heap() {
  for (let left = 3; left > 0; left--) await devtools.send('HeapProfiler.collectGarbage');
  return (await devtools.send('Runtime.getHeapUsage')).usedSize;
}

async function measure(name, argument) {
  // A fresh page: a regular expression keeps the text that it has last searched.
  await page.goto(address);
  await page.evaluate(async () => {
    await Promise.all(['/dist/index.js', '/dist/chat.js'].map((module) => import(module)));
  });
  const before = await heap();
  const run = await page.evaluate(([way, value]) => window.measure(way, value), [name, argument]);
  return { ...run, heapKept: ((await heap()) - before) / 1e6 };
}

const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
const results = {};
for (const [label, name, argument] of [
  ['ours, typed events', 'ours', 'events'],
  ['ours, chat chunks', 'ours', 'chat'],
  ['naive, one search at the end', 'naive', false],
  ['naive, a search at each delta', 'naive', true],
]) {
  const runs = [];
  for (let left = REPEATS; left > 0; left--) runs.push(await measure(name, argument));
  const of = (key) => runs.map((run) => run[key]);
  results[label] = { longestTask: median(of('longestTask')), least: Math.min(...of('longestTask')), heapKept: median(of('heapKept')) };
  const { longestTask, least, heapKept } = results[label];
  console.log(`${label}: longest task ${longestTask.toFixed(0)} ms median, ${least.toFixed(0)} ms least; heap kept ${heapKept.toFixed(2)} MB; blocked ${median(of('blocked')).toFixed(0)} ms; ${median(of('ms')).toFixed(0)} ms in all`);
}

const hash = await page.evaluate(async () => {
  const { blob } = await window.ways.ours('events');
  const digest = await crypto.subtle.digest('SHA-256', await blob.arrayBuffer());
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
});
assert.equal(hash, sha256(png), 'the bytes are those that were sent');

const photos = await page.evaluate(async () => {
  const { preparePhotos } = await import('/dist/photos.js');
  const canvas = new OffscreenCanvas(4032, 3024);
  const context = canvas.getContext('2d');
  for (let at = 0; at < 4000; at++) {
    context.fillStyle = `hsl(${at * 7} 80% 50%)`;
    context.fillRect((at * 97) % 4032, (at * 61) % 3024, 90, 90);
  }
  const jpeg = new Uint8Array(await (await canvas.convertToBlob({ type: 'image/jpeg', quality: 0.95 })).arrayBuffer());
  // An EXIF segment that turns the photo by 90 degrees and has a secret in it.
  const exif = new Uint8Array([0x45, 0x78, 0x69, 0x66, 0, 0, 0x4d, 0x4d, 0, 42, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, ...new TextEncoder().encode('GPS-SECRET')]);
  const segment = new Uint8Array([0xff, 0xe1, 0, exif.length + 2, ...exif]);
  const photo = new Blob([jpeg.subarray(0, 2), segment, jpeg.subarray(2)], { type: 'image/jpeg' });
  const tasks = [];
  new PerformanceObserver((list) => tasks.push(...list.getEntries().map(({ duration }) => duration))).observe({ entryTypes: ['longtask'] });
  await new Promise((resolve) => setTimeout(resolve, 300));
  tasks.length = 0;
  const started = performance.now();
  const prepared = await preparePhotos([photo, photo, photo]);
  const ms = performance.now() - started;
  await new Promise((resolve) => setTimeout(resolve, 200));
  const text = new TextDecoder('latin1').decode(await prepared[0].blob.arrayBuffer());
  const heic = await preparePhotos([new Blob([new Uint8Array(4), 'ftypheic'])]).catch(({ code, message }) => `${code}: ${message}`);
  return {
    size: [prepared[0].width, prepared[0].height], bytes: prepared.map(({ blob }) => blob.size), original: photo.size, ms,
    longestTask: Math.max(0, ...tasks), exif: text.includes('Exif') || text.includes('GPS-SECRET'), type: prepared[0].blob.type, heic,
  };
});
console.log(`photos: three of ${photos.original} B became ${photos.bytes} B, ${photos.size.join('x')}, in ${photos.ms.toFixed(0)} ms; longest task ${photos.longestTask.toFixed(0)} ms; ${photos.heic}`);
assert.deepEqual(photos.size, [1536, 2048], 'EXIF was applied');
assert.equal(photos.exif, false, 'EXIF was dropped');
assert.equal(photos.type, 'image/jpeg');
assert.match(photos.heic, /^invalid_image: .*HEIC/);

await browser.close();
server.close();
const ours = results['ours, typed events'];
// The least of the runs: another program on the machine lengthens tasks, nothing shortens them.
assert.ok(ours.least <= 50, `longest task ${ours.least} ms`);
assert.ok(ours.heapKept <= 0.5, `heap kept ${ours.heapKept} MB`);
