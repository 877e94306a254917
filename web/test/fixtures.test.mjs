// The recorded answers that the Rust tests read, as an older backend would pass them on: byte for byte, in many cuts.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { createImageClient, ImageStreamError } from '../dist/index.js';
import { sha256, startGateway } from './support/gateway.mjs';

const FIXTURES = new URL('../../shared/tests/data/fixtures/', import.meta.url);
const { fixtures, pixels } = JSON.parse(readFileSync(new URL('MANIFEST.json', FIXTURES), 'utf8'));
const CHAT = fixtures.filter(({ file }) => /^[cefh]/.test(file));

/** Where a client answers otherwise than the service, which reads an upstream. */
const OTHERWISE = {
  // A client knows no drafts in chat answers: every picture is one.
  'c06_thought_draft_then_final.sse': { images: 3 },
  // The end of a stream without its terminal event is an error, whatever came before; the picture is in `error.images`.
  'f07_missing_done.sse': { code: 'interrupted', images: 1 },
  'e01_eof_mid_base64.sse': { code: 'interrupted' },
  'e19_empty_200.sse': { code: 'interrupted' },
  'e15_html_200.html': { code: 'protocol' },
  // A picture without its end marker is none.
  'e02_done_but_truncated.sse': { code: 'no_image' },
  'e04_finish_length.sse': { code: 'no_image' },
};

/** Codes of refusals and error events: the service's own where a string code was found in the body. */
const CODES = {
  'e05_content_filter_empty.sse': 'content_rejected',
};

let gateway;
before(async () => {
  gateway = await startGateway();
});
after(() => gateway.close());

function serve({ file, status, content_type }, size) {
  const bytes = readFileSync(new URL(file, FIXTURES));
  gateway.next('POST /api/generate-stream', async (_, response) => {
    response.writeHead(status, { 'content-type': content_type });
    for (let at = 0; at < bytes.length; at += size) {
      response.write(bytes.subarray(at, at + size));
      if (size < 100) await new Promise(setImmediate);
    }
    response.end();
  });
}

async function read(fixture, size) {
  serve(fixture, size);
  const client = createImageClient({ url: { generate: `${gateway.url}/api/generate-stream` }, retry: false });
  try {
    const result = await client.generate({ prompt: 'x', format: 'chat' }).result();
    return { ...result, code: 'ok' };
  } catch (error) {
    assert.ok(error instanceof ImageStreamError, error?.stack);
    return error;
  }
}

for (const fixture of CHAT) {
  test(`${fixture.file}`, { timeout: 30_000 }, async () => {
    const { expect, file } = fixture;
    const length = readFileSync(new URL(file, FIXTURES)).length;
    for (const size of [length || 1, 1021, length < 6000 ? 7 : 16384]) {
      const seen = await read(fixture, size);
      const otherwise = OTHERWISE[file];
      const code = otherwise?.code ?? CODES[file] ?? (expect.outcome === 'ok' ? 'ok' : seen.code);
      assert.equal(seen.code, code, `in pieces of ${size}: ${seen.message}`);
      if (expect.outcome === 'error') assert.notEqual(seen.code, 'ok');
      if (otherwise?.images) assert.equal(seen.images.length, otherwise.images);
      if (seen.code !== 'ok' || otherwise) continue;
      const links = seen.images.filter(({ blob }) => !blob).map(({ url }) => url);
      assert.deepEqual(links, expect.urls ?? []);
      const blobs = seen.images.filter(({ blob }) => blob);
      const hashes = await Promise.all(blobs.map(async ({ blob }) => sha256(Buffer.from(await blob.arrayBuffer()))));
      assert.deepEqual(hashes, (expect.images ?? []).map((image) => image.sha256));
      if (expect.mime) assert.equal(seen.images[0].mediaType, expect.mime);
      if (expect.text) assert.equal(seen.text.trim(), expect.text.trim());
      assert.deepEqual(seen.images.map(({ index }) => index), seen.images.map((_, at) => at));
    }
  });
}

test('the manifest was read', () => {
  assert.ok(CHAT.length > 40, `${CHAT.length} fixtures`);
  assert.ok(pixels.RED.sha256);
});
