// With a canvas that returns a small picture instead of drawing one. test/page.mjs has the real one.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, test } from 'node:test';
import { createImageClient } from '../dist/index.js';

const VECTORS = new URL('../../shared/tests/data/vectors/label/', import.meta.url);
const vector = (name) => readFileSync(new URL(name, VECTORS));
const { aigc_json: json } = JSON.parse(vector('vectors.json'));
const TYPES = { png: 'image/png', jpg: 'image/jpeg', webp: 'image/webp', gif: 'image/gif' };

/** PNG, annex D. */
const crc32 = (bytes) => ~bytes.reduce((crc, byte) => Array(8).fill().reduce((crc) => (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0), crc ^ byte), -1) >>> 0;

let calls;
let bare;
beforeEach(() => {
  calls = [];
  bare = { 'image/png': vector('in/png-1x1.png'), 'image/jpeg': vector('in/jpeg-jfif.jpg') };
  globalThis.createImageBitmap = async () => ({ width: 400, height: 1000, close: () => calls.push('close') });
  const context = (canvas) => ({
    canvas,
    drawImage: () => calls.push('draw'),
    // A capital letter has 70 % of the font's size.
    measureText: () => ({ actualBoundingBoxAscent: 70 }),
    strokeText() {},
    fillText(text, x, y) {
      calls.push([text, this.font.match(/(\d+)px/)[1], x, y]);
    },
  });
  const canvas = { getContext: () => context(canvas), toBlob: (done, type) => done(new Blob([bare[type]], { type })) };
  globalThis.document = { createElement: () => canvas };
});
afterEach(() => {
  delete globalThis.createImageBitmap;
  delete globalThis.document;
});

async function redraw(bytes, options, type = 'image/png') {
  const image = { taskId: 't', index: 0, blob: new Blob([bytes], { type }) };
  const blob = await createImageClient().blob(image, options);
  return { type: blob.type, bytes: Buffer.from(await blob.arrayBuffer()) };
}

/** The label in a PNG or JPEG, read by its structure. */
function labelsOf(bytes) {
  const packets = [];
  if (bytes[0] === 0x89) {
    for (let at = 8; at < bytes.length; ) {
      const length = bytes.readUInt32BE(at);
      const chunk = bytes.subarray(at + 4, at + 8 + length);
      if (`${chunk}`.startsWith('iTXtXML:com.adobe.xmp\0\0\0\0\0')) {
        assert.equal(bytes.readUInt32BE(at + 8 + length), crc32(chunk));
        packets.push(`${chunk.subarray(26)}`);
      }
      at += length + 12;
    }
  } else {
    for (let at = 2; bytes[at + 1] >= 0xe0 && bytes[at + 1] <= 0xef; at += bytes.readUInt16BE(at + 2) + 2) {
      const segment = bytes.subarray(at + 4, at + 2 + bytes.readUInt16BE(at + 2));
      if (`${segment}`.startsWith('http://ns.adobe.com/xap/1.0/\0')) packets.push(`${segment.subarray(29)}`);
    }
  }
  return packets.map((packet) => /<TC260:AIGC>(.*)<\/TC260:AIGC>/.exec(packet)?.[1].replace(/&quot;/g, '"'));
}

for (const name of ['out/png-1x1.png', 'out/jpeg-jfif.jpg', 'out/webp-lossy.webp', 'out/gif.gif', 'in/jpeg-labelled-usercomment.jpg']) {
  test(`the implicit label of ${name} stays`, async () => {
    const type = TYPES[name.split('.').at(-1)];
    const drawn = await redraw(vector(name), { visibleLabel: 'zh' }, type);
    assert.equal(drawn.type, type === 'image/jpeg' ? type : 'image/png');
    const labels = labelsOf(drawn.bytes);
    assert.equal(labels.length, 1);
    assert.equal(JSON.parse(labels[0]).Label, '1');
    if (name.startsWith('out/')) assert.equal(labels[0], json);
    assert.equal(drawn.bytes.length - bare[drawn.type].length, drawn.bytes.indexOf('<?xpacket end="w"?>') + 19 + (type === 'image/jpeg' ? 0 : 4) - (type === 'image/jpeg' ? 20 : 33));
  });
}

test('a picture without an implicit label gets the visible one alone', async () => {
  const { bytes } = await redraw(bare['image/png'], { visibleLabel: 'en' });
  assert.deepEqual(bytes, bare['image/png']);
  const [label, translation] = calls.slice(2);
  assert.deepEqual([label[0], translation[0]], ['AI生成', 'AI-generated']);
  assert.ok(label[1] * 0.7 >= 0.05 * 400 && label[3] < translation[3], 'the label has 5 %, and the translation is below');
});

test('the text is in the corner, and its capitals have 5 % of the shorter side', async () => {
  await redraw(vector('out/png-1x1.png'), { visibleLabel: 'zh' });
  const [, , [text, size, x, y]] = calls;
  assert.equal(text, 'AI生成');
  assert.ok(size * 0.7 >= 0.05 * 400, `${size} px`);
  assert.ok(x > 360 && x < 400 && y > 960 && y < 1000, `${x}, ${y}`);
});

test('without options the bytes are those that came', async () => {
  const { bytes } = await redraw(vector('out/gif.gif'), undefined, 'image/gif');
  assert.deepEqual(bytes, vector('out/gif.gif'));
  assert.deepEqual(calls, []);
  const { type } = await redraw(vector('out/jpeg-jfif.jpg'), { type: 'image/png' }, 'image/jpeg');
  assert.deepEqual([type, calls], ['image/png', ['draw', 'close']]);
});

test('a picture that cannot be drawn is an error', async () => {
  document.createElement().toBlob = (done) => done(null);
  await assert.rejects(redraw(vector('out/png-1x1.png'), { visibleLabel: 'zh' }), /cannot draw/);
});
