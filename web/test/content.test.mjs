import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createContentReader } from '../dist/content.js';

const PNG = `iVBORw0KGgo${'AbC+/'.repeat(20)}`;

/** Text and pictures of a content that is cut after every `size` characters. */
function read(content, size) {
  const reader = createContentReader();
  const parts = [];
  for (let at = 0; at < content.length; at += size) for (const part of reader.push(content.slice(at, at + size))) parts.push(part);
  parts.push(...reader.finish());
  const pictures = [];
  let text = '';
  for (const part of parts) {
    if (part.type === 'text') text += part.text;
    else if (part.type === 'link') pictures.push(part.url);
    else if (part.type === 'open') pictures.push(`${part.mediaType},`);
    else if (part.type === 'b64') pictures[pictures.length - 1] += part.b64.replace(/\s/g, '');
    else if (!part.closed) pictures[pictures.length - 1] += '…';
  }
  return { text, pictures };
}

const ROWS = [
  ['![image](data:image/png;base64,AAAA)', '', ['image/png,AAAA']],
  ['a ![x y](data:image/jpeg;base64,AAAA) b', 'a  b', ['image/jpeg,AAAA']],
  ['![](DATA:IMAGE/PNG;BASE64,AAAA)', '', ['image/png,AAAA']],
  ['![image](data: image/png; base64,\nAA\nAA)', '', ['image/png,AAAA']],
  ['![image](data:image/png;charset=utf-8;base64,AAAA "a title")', '', ['image/png,AAAA']],
  ['![i](data:image/webp;base64,A-_A)![i](data:image/webp;base64,BBBB)', '', ['image/webp,A-_A', 'image/webp,BBBB']],
  ['data:image/png;base64,AAAA and text', ' and text', ['image/png,AAAA']],
  ['<img src="data:image/png;base64,AAAA">', '<img src="">', ['image/png,AAAA']],
  ['![i](https://example.com/a.png) b', ' b', ['https://example.com/a.png']],
  ['![i](https://example.com/a%281%29.png "t")', '', ['https://example.com/a%281%29.png']],
  ['[link](https://example.com/a.png)', '[link](https://example.com/a.png)', []],
  ['![i](data:image/png;base64,AAA', '', ['image/png,AAA…']],
  [PNG, '', [`image/*,${PNG}…`]],
  [`\n${PNG}\nend`, '\nend', [`image/*,${PNG}`]],
  [`text ${PNG}`, `text ${PNG}`, []],
  ['wow! no ![picture] here (at all), data: none, d', 'wow! no ![picture] here (at all), data: none, d', []],
  ['![a](file.png)', '![a](file.png)', []],
  ['data:text/plain;base64,AAAA', 'data:text/plain;base64,AAAA', []],
  ['data:image/png,AAAA', 'data:image/png,AAAA', []],
  ['![', '![', []],
  ['![image](data:image/png;base64,', '', ['image/png,…']],
  ['图![图](data:image/png;base64,AAAA)像', '图像', ['image/png,AAAA']],
];

test('pictures in Markdown, as data URLs and as base64, in every cut', () => {
  for (const [content, text, pictures] of ROWS) {
    const expected = { text, pictures: pictures.map((picture) => picture.replace('image/*', '')) };
    for (let size = 1; size <= content.length; size++) assert.deepEqual(read(content, size), expected, `${content} in pieces of ${size}`);
  }
});

test('hostile content takes linear time', { timeout: 60_000 }, () => {
  for (const unit of ['![', '![a](', 'data:', 'data:image/', '![a](data:image/png;', '![](https://', 'd', '!', 'i', '![a](data:image/png;base64,', ')', '![a] ', 'data: ', '![a](data:image/a', 'data:image/a;;', '![a](https://a ']) {
    const content = unit.repeat(Math.ceil(200_000 / unit.length));
    for (const size of [64, content.length]) {
      const started = performance.now();
      read(content, size);
      const ms = performance.now() - started;
      assert.ok(ms < 3000, `${unit} in pieces of ${size}: ${Math.round(ms)} ms`);
    }
  }
});
