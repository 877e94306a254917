// With a canvas of arithmetic: pixels are counted, not drawn. test/browser.mjs has the real one.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { createImageStream } from '../dist/image-stream.js';
import { preparePhotos } from '../dist/photos.js';
import { startGateway } from './support/gateway.mjs';

let drawn;
let bytesPerPixel;
beforeEach(() => {
  drawn = [];
  bytesPerPixel = { 'image/png': 3, 'image/jpeg': 0.3 };
  globalThis.createImageBitmap = async (blob) => {
    const [, width, height] = /(\d+)x(\d+)/.exec(await blob.text()) ?? [];
    if (!width) throw new Error('cannot decode');
    return { width: +width, height: +height, close: () => drawn.push('closed') };
  };
  globalThis.OffscreenCanvas = class {
    constructor(width, height) {
      Object.assign(this, { width, height });
    }
    getContext = () => ({ fillRect: () => drawn.push('white'), drawImage: (_, x, y, width, height) => drawn.push(`${width}x${height}`) });
    convertToBlob = async ({ type, quality }) => new Blob([new Uint8Array(Math.floor(this.width * this.height * bytesPerPixel[type] * quality))], { type });
  };
});
afterEach(() => {
  delete globalThis.createImageBitmap;
  delete globalThis.OffscreenCanvas;
  delete globalThis.Worker;
});

const photo = (size, type = 'image/jpeg') => new Blob([`EXIF ${size}`], { type });

for (const [name, size, options, expected] of [
  ['a phone photo', '4032x3024', {}, [2048, 1536]],
  ['a small one keeps its size, and is drawn anew without EXIF', '800x600', {}, [800, 600]],
  ['a panorama', '20000x1000', {}, [2048, 102]],
  ['a line', '1x9000', {}, [1, 2048]],
  ['no canvas beyond that of iOS, whatever is asked', '8000x6000', { maxEdge: 9999, maxBytes: 9e7 }, [4729, 3547]],
]) {
  test(`${name}: ${size}`, async () => {
    const [prepared] = await preparePhotos([photo(size)], options);
    assert.deepEqual([prepared.width, prepared.height], expected);
    assert.ok(prepared.width * prepared.height <= 16_777_216);
    assert.match(prepared.dataUrl, /^data:image\/jpeg;base64,/);
    assert.deepEqual(drawn, ['white', expected.join('x'), 'closed']);
  });
}

test('bytes: less quality first, then fewer pixels, until it fits', async () => {
  bytesPerPixel['image/jpeg'] = 2;
  const [prepared] = await preparePhotos([photo('2048x2048')]);
  assert.ok(prepared.blob.size <= 1_400_000, `${prepared.blob.size}`);
  assert.ok(prepared.width < 2048 && prepared.width > 500);
  const many = await preparePhotos(Array(10).fill(photo('2048x2048')));
  assert.ok(many.reduce((sum, { blob }) => sum + blob.size, 0) <= 4_200_000, 'ten fit one request');
});

test('PNG stays PNG if it fits, else it is JPEG on white', async () => {
  const [small, large] = await preparePhotos([photo('300x300', 'image/png'), photo('2000x2000', 'image/png')]);
  assert.equal(small.blob.type, 'image/png');
  assert.equal(large.blob.type, 'image/jpeg');
});

test('HEIC that cannot be decoded is refused with a sentence that helps, in both languages', async () => {
  const heic = new Blob([Buffer.from('000000186674797068656963', 'hex')]);
  await assert.rejects(preparePhotos([heic]), { code: 'invalid_image', message: /HEIC.*JPEG.*兼容性最佳/ });
  await assert.rejects(preparePhotos([heic], { language: 'en' }), { code: 'invalid_image', message: /HEIC.*Most Compatible/ });
  await assert.rejects(preparePhotos([new Blob(['%PDF'])], { language: 'en' }), { code: 'invalid_image', message: /JPEG, PNG or WebP/ });
});

test('a signal stops between photos', async () => {
  await assert.rejects(preparePhotos([photo('8x8')], { signal: AbortSignal.abort() }), { code: 'aborted' });
});

for (const [name, answer] of [
  ['answers', (worker, data) => worker.onmessage({ data: { blob: data[0], width: 5, height: 5 } })],
  ['does not load', (worker) => worker.onerror()],
]) {
  test(`a worker that ${name}`, async () => {
    let terminated = 0;
    globalThis.Worker = class {
      constructor(url, { type }) {
        assert.match(`${url}`, /photos-worker\.js$/);
        assert.equal(type, 'module');
      }
      postMessage = (data) => setTimeout(() => answer(this, data));
      terminate = () => terminated++;
    };
    const [prepared] = await preparePhotos([photo('800x600')]);
    assert.equal(prepared.width, name === 'answers' ? 5 : 800, 'the page draws where the worker cannot');
    assert.equal(terminated, 1);
  });
}

test('generateImageStream scales files down, and data URLs that do not fit together', async (t) => {
  const gateway = await startGateway();
  t.after(gateway.close);
  const { generateImageStream } = createImageStream({ url: gateway.url });
  const small = 'data:image/png;base64,AAAA';
  await generateImageStream({ prompt: 'x', imageInputs: [photo('4032x3024'), small, 'https://example.com/a.png'] });
  let inputs = JSON.parse(gateway.posts()[0].body).image_inputs;
  assert.match(inputs[0], /^data:image\/jpeg/);
  assert.deepEqual(inputs.slice(1), [small, 'https://example.com/a.png']);
  const large = `data:image/jpeg;base64,${Buffer.from(`4032x3024${' '.repeat(2_400_000)}`).toString('base64')}`;
  await generateImageStream({ prompt: 'x', imageInputs: [large, large, large] });
  inputs = JSON.parse(gateway.posts()[1].body).image_inputs;
  assert.ok(gateway.posts()[1].body.length < 6_000_000, `${gateway.posts()[1].body.length}`);
  assert.equal(inputs.length, 3);
});
