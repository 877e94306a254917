// Serves the built page before the fake gateway, with a sign-in, for the states that a test cannot bring about with the
// local stack.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, request as forward } from 'node:http';
import { deflateSync } from 'node:zlib';
import { readBody, startGateway } from './gateway.mjs';

const PAGE = new URL('../../dist/demo/', import.meta.url);
const TYPES = { html: 'text/html; charset=utf-8', js: 'text/javascript', css: 'text/css', svg: 'image/svg+xml' };
const FILES = ['index.html', 'app.js', 'photos-worker.js', 'style.css', 'icon.svg'];

/** A PNG that browsers show: bands of colour with noise, so that it has some bytes. */
export function makeLandscape(seed, width = 480, height = 480) {
  let state = createHash('sha256').update(`${seed}`).digest().readUInt32LE();
  const random = () => (state = (state * 1664525 + 1013904223) >>> 0) / 2 ** 32;
  const [hue, turn] = [random() * 6, 1 + random()];
  const rows = Buffer.alloc(height * (width * 3 + 1));
  for (let y = 0, at = 0; y < height; y++) {
    rows[at++] = 0;
    for (let x = 0; x < width; x++) {
      const far = y / height + 0.08 * Math.sin(x / 40 + Math.floor((y * 4) / height));
      for (let channel = 0; channel < 3; channel++) rows[at++] = 128 + 90 * Math.sin(hue + far * turn * 2 + channel * 2) + random() * 24;
    }
  }
  const chunk = (name, data) => {
    const body = Buffer.concat([Buffer.from(name), data]);
    const frame = Buffer.alloc(body.length + 8);
    frame.writeUInt32BE(data.length);
    body.copy(frame, 4);
    frame.writeUInt32BE(crc32(body), body.length + 4);
    return frame;
  };
  const header = Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 8, 2, 0, 0, 0]);
  header.writeUInt32BE(width);
  header.writeUInt32BE(height, 4);
  const signature = Buffer.from('89504e470d0a1a0a', 'hex');
  const png = Buffer.concat([signature, chunk('IHDR', header), chunk('IDAT', deflateSync(rows)), chunk('IEND', Buffer.alloc(0))]);
  return Object.assign(png, { width, height });
}

function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

/** The page and the gateway on one address. The code that the sign-in expects is 123456, the password is `demo`. */
export async function startPage({ config = {}, ...gatewayOptions } = {}) {
  let pictures = 0;
  const gateway = await startGateway({ makePicture: () => makeLandscape(pictures++), ...gatewayOptions });
  const sessions = new Map();

  async function auth(path, request, response) {
    const body = JSON.parse((await readBody(request)) || '{}');
    const answer = (status, value) => response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
    const email = body.email ?? sessions.get(body.refresh_token);
    const isRight = /password$/.test(path) ? body.password === 'demo' : /verify$/.test(path) ? body.token === '123456' : sessions.has(body.refresh_token);
    if (/otp$/.test(path)) return answer(200, {});
    if (/logout/.test(path)) return response.writeHead(204).end();
    if (!isRight) return answer(400, { error_code: 'invalid_credentials', msg: 'Invalid login credentials' });
    const refresh_token = `refresh-${sessions.size}-${Date.now()}`;
    sessions.set(refresh_token, email);
    answer(200, { access_token: 'access', refresh_token, expires_in: 3600, user: { id: email, email } });
  }

  const server = createServer((request, response) => {
    const path = request.url.split('?')[0];
    const file = path === '/' ? 'index.html' : path.slice(1);
    if (path === '/config.json') {
      const content = { supabase: { url: '', key: 'key' }, signIn: ['password', 'code'], models: ['gemini-2.5-flash-image'], ...config };
      return response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(content));
    }
    if (FILES.includes(file)) {
      const content = readFileSync(new URL(file, PAGE), 'utf8').replace(' https:', ' https: http:');
      return response.writeHead(200, { 'content-type': TYPES[file.split('.').pop()] }).end(content);
    }
    if (path.startsWith('/auth/v1/')) return auth(request.url, request, response);
    const target = { host: '127.0.0.1', port: gateway.port, path: request.url, method: request.method, headers: request.headers };
    const onward = forward(target, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
      answer.on('error', () => response.destroy());
    });
    onward.on('error', () => response.destroy());
    response.on('close', () => onward.destroy());
    request.pipe(onward);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${server.address().port}`;
  return {
    url,
    gateway,
    async close() {
      server.closeAllConnections();
      server.close();
      await gateway.close();
    },
  };
}
