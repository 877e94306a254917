import assert from 'node:assert/strict';
import { test } from 'node:test';
import { installDom, until } from './support/dom.mjs';
import { sleep, stall, startGateway, streamOf, typed } from './support/gateway.mjs';

const { root: element, created, revoked } = installDom();
const { createApp, h } = await import('vue');
const { createImageClient } = await import('../dist/index.js');
const { useImageStream } = await import('../dist/vue.js');

test('the composable shows a run, and stops reading when its component leaves', async (t) => {
  const gateway = await startGateway({ workMs: 50, pauseMs: 10 });
  t.after(gateway.close);
  const client = createImageClient({ url: gateway.url, previewIntervalMs: 1 });
  let stream;
  const app = createApp({
    setup() {
      stream = useImageStream(client);
      return () => h('main', [h('p', stream.state.value.status), ...stream.state.value.images.map(({ src }) => h('img', { src }))]);
    },
  });
  app.mount(element);
  assert.equal(element.textContent, 'idle');
  const promise = stream.generate({ prompt: 'x' });
  assert.equal(await stream.generate({ prompt: 'x' }), await promise, 'a double click has the same run');
  await until(() => element.textContent === 'completed');
  assert.match(element.querySelector('img').getAttribute('src'), /^blob:/);
  assert.equal(gateway.posts().length, 1);

  await stream.resume((await promise).taskId);
  await until(() => stream.state.value.status === 'completed' && stream.state.value.resumed);
  assert.match(stream.state.value.images[0].src, /pictures/);

  let closed = false;
  gateway.next('POST /api/v1/faceflip/generate/stream', (request, response, body) => {
    response.on('close', () => (closed = true));
    return streamOf([typed('start', { message: '开始生成图像...' })], stall)(request, response, body);
  });
  void stream.faceflip({ urls: ['https://example.com/a.png'] });
  await until(() => stream.state.value.message === '开始生成图像...');
  app.unmount();
  await until(() => closed);
  assert.ok(!gateway.requests.some(({ method }) => method === 'DELETE'));
  await sleep(30);
  assert.deepEqual([...created].filter((url) => !revoked.has(url)), []);
});
