import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { createParser } from 'eventsource-parser';
import { createSseDecoder } from '../dist/sse.js';

const VECTORS = new URL('../../shared/tests/data/vectors/sse.json', import.meta.url);

function decode(bytes, cuts, finish = false) {
  const decoder = createSseDecoder();
  const events = [];
  let from = 0;
  for (const at of [...cuts, bytes.length]) {
    events.push(...decoder.push(bytes.subarray(from, at)));
    from = at;
  }
  return finish ? [...events, ...decoder.finish()] : events;
}

test('the vectors of the Rust decoder, in every cut into two pieces and byte by byte', () => {
  const { cases } = JSON.parse(readFileSync(VECTORS, 'utf8'));
  assert.ok(cases.length > 20, `${cases.length} cases`);
  for (const { id, input_hex, events } of cases) {
    const bytes = Buffer.from(input_hex, 'hex');
    const expected = events.map(({ type, data }) => ({ event: type, data }));
    const all = Array.from({ length: bytes.length + 1 }, (_, at) => at);
    for (const cuts of [[], all, ...all.map((at) => [at])]) assert.deepEqual(decode(bytes, cuts), expected, `${id} cut at ${cuts}`);
  }
});

/** xorshift32: a failure names its seed. */
function random(seed) {
  let state = seed * 2654435761 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const TOKENS = [
  'data', 'data:', 'data: ', 'data: a\n\n', 'data: b\r\n\r\n', 'event: c\n', 'event', 'event: ', 'event:', 'id: 7', 'id', 'retry: 10', 'retry: x', ':', ': ping', ' ', '  ', ':',
  '\n', '\n', '\n', '\r', '\r\n', '\r\n', '\n\n', '\n\n', '\r\r', 'a', '{"a":1}', '图像', '🖼', '\0', '\u2028', '\u0085', '[DONE]', 'datax: 1', 'Data: 1',
];

test('20000 random streams in random cuts give what eventsource-parser gives', () => {
  // Documented differences: `id` and `retry` are not reported; a carriage return that ends a piece ends its line at once,
  // while the peer waits for a further line end. The streams here end in a line feed for that reason.
  let events = 0;
  for (let seed = 1; seed <= 20_000; seed++) {
    const next = random(seed);
    let text = '';
    for (let left = next(60); left > 0; left--) text += TOKENS[next(TOKENS.length)];
    text += next(2) ? '\n\nz\n' : 'z\n';
    const bytes = new TextEncoder().encode(text);
    const cuts = Array.from({ length: next(12) }, () => next(bytes.length + 1)).sort((a, b) => a - b);

    const expected = [];
    const peer = createParser({ onEvent: ({ event, data }) => expected.push({ event: event || 'message', data }) });
    const utf8 = new TextDecoder();
    let from = 0;
    for (const at of [...cuts, bytes.length]) {
      peer.feed(utf8.decode(bytes.subarray(from, at), { stream: true }));
      from = at;
    }
    assert.deepEqual(decode(bytes, cuts), expected, `seed ${seed}: ${JSON.stringify(text)} cut at ${cuts}`);
    events += expected.length;
  }
  assert.ok(events > 15_000, `${events} events were compared`);
});

test('the end of the stream completes an event that lacks only its blank line', () => {
  assert.deepEqual(decode(Buffer.from('data: [DONE]'), [], true), [{ event: 'message', data: '[DONE]' }]);
  assert.deepEqual(decode(Buffer.from('event: a\n'), [], true), []);
});

test('a line of 16 MB in 1024 pieces takes linear time', () => {
  const time = (size) => {
    const piece = new Uint8Array(size / 1024).fill(65);
    const decoder = createSseDecoder();
    decoder.push(Buffer.from('data: '));
    const started = performance.now();
    for (let left = 1024; left > 0; left--) decoder.push(piece);
    const [event] = decoder.push(Buffer.from('\n\n'));
    assert.equal(event.data.length, size);
    return performance.now() - started;
  };
  time(1 << 20);
  // A quadratic decoder takes seconds: it copies or searches 8 GB.
  assert.ok(time(16 << 20) < 1500);
});

test('an event beyond the cap is an error, in one line or in many', () => {
  const long = createSseDecoder(1000);
  assert.throws(() => {
    for (let left = 100; left > 0; left--) long.push(Buffer.from('data: 0123456789'));
  }, SyntaxError);
  const many = createSseDecoder(1000);
  assert.throws(() => {
    for (let left = 200; left > 0; left--) many.push(Buffer.from('data: 0123456789\n'));
  }, SyntaxError);
  const fine = createSseDecoder(1000);
  for (let left = 200; left > 0; left--) fine.push(Buffer.from('data: 0123456789\n\n: comment\n\n'));
});
