// A gateway for tests: it speaks the wire formats of docs/api.md over sockets, keeps tasks by their idempotency key and
// counts the calls of its upstream. The work of a task does not depend on its readers.
import { createHash, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';

/** A PNG with `size` bytes that no two calls have in common. */
export function makePng(size = 4000, seed = randomUUID()) {
  const bytes = Buffer.alloc(Math.max(size, 80));
  let state = createHash('sha256').update(seed).digest().readUInt32LE();
  for (let at = 0; at < bytes.length; at++) bytes[at] = (state = (state * 1664525 + 1013904223) >>> 0) >>> 24;
  Buffer.from('89504e470d0a1a0a0000000d49484452', 'hex').copy(bytes);
  Buffer.from('0000000049454e44ae426082', 'hex').copy(bytes, bytes.length - 12);
  return bytes;
}

export const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** One typed event in its wire form. */
export function typed(name, data) {
  return `id: ${typed.next++}\nevent: ${name}\ndata: ${JSON.stringify({ event: name, data })}\n\n`;
}
typed.next = 1;

/** The events of one picture. */
export function pictureEvents(index, png, deltaBytes = 12288) {
  const events = [typed('image.start', { index, media_type: 'image/png', draft: false })];
  for (let at = 0; at < png.length; at += deltaBytes) {
    events.push(typed('image.delta', { index, b64: png.subarray(at, at + deltaBytes).toString('base64') }));
  }
  events.push(typed('image.done', doneOf(index, png)));
  return events;
}

export function doneOf(index, png) {
  return { index, media_type: 'image/png', bytes: png.length, sha256: sha256(png), width: png.width ?? 8, height: png.height ?? 8 };
}

export function problem(code, status, more = {}) {
  const sentence = `sentence of ${code}`;
  return { type: `urn:imagegw:problem:${code}`, status, code, request_id: 'r-1', retryable: false, error: sentence, message: sentence, ...more };
}

export function sendProblem(response, code, status, more, headers = {}) {
  response.writeHead(status, { 'content-type': 'application/problem+json', ...headers });
  response.end(JSON.stringify(problem(code, status, more)));
}

export async function readBody(request) {
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  return Buffer.concat(pieces).toString();
}

/**
 * Starts a gateway. `script` handlers answer the next requests of a route instead of it:
 * `gateway.next('POST /api/generate-stream', (request, response) => …)`.
 */
export async function startGateway({ keepPictures = true, pictureBytes = 4000, workMs = 30, pauseMs = 0, token, makePicture = () => makePng(pictureBytes) } = {}) {
  const tasks = new Map();
  const scripts = [];
  const requests = [];
  const gateway = { tasks, requests, upstreamCalls: 0, url: '', log: true };

  function work(task) {
    task.status = 'running';
    task.attempts++;
    task.pictures = [];
    task.events = [typed('start', { task_id: task.id, n: task.n, message: 'start' }), typed('process', { task_id: task.id, message: 'process' })];
    const add = (...events) => {
      task.events.push(...events);
      for (const wake of task.readers.splice(0)) wake();
    };
    task.done = (async () => {
      for (let index = 0; index < task.n; index++) gateway.upstreamCalls++;
      await sleep(workMs);
      for (let index = 0; index < task.n && !task.cancelled; index++) {
        const png = makePicture(index);
        for (const event of pictureEvents(index, png, 1536)) {
          add(event);
          if (pauseMs) await sleep(pauseMs);
        }
        task.pictures.push({ ...doneOf(index, png), png });
      }
      if (!task.pictures.length) {
        task.status = 'failed';
        task.code = 'cancelled';
        add(typed('error', { task_id: task.id, code: 'cancelled', error: 'cancelled', message: 'cancelled', retryable: false }));
      } else {
        task.status = 'succeeded';
        add(typed('done', { task_id: task.id, images: task.pictures.map((picture) => listed(task, picture)), failed: [], usage: { total_tokens: 7 } }));
      }
    })();
  }

  function listed(task, { png: _, ...picture }) {
    if (!keepPictures) return picture;
    const url = `${gateway.url}/pictures/${encodeURIComponent(task.id)}/${picture.index}?signed=${Date.now()}`;
    return { ...picture, url, url_expires: new Date(Date.now() + 3600e3).toISOString() };
  }

  function item(task) {
    return {
      task_id: task.id, route: '/api/generate-stream', status: task.status, attempts: task.attempts,
      images: task.pictures.length, created: '2026-11-21T08:00:00.000Z', updated: '2026-11-21T08:00:41.120Z',
      ...(task.status === 'failed' && { code: task.code }),
      ...(task.cancelled && task.status === 'running' && { cancelling: true }),
      ...(keepPictures && task.status === 'succeeded' && { pictures: task.pictures.map((picture) => listed(task, picture)) }),
    };
  }

  async function stream(response, task) {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'x-task-id': task.id });
    response.write(`: ${' '.repeat(1024)}\n\n`);
    const ping = setInterval(() => response.write(': ping\n\n'), 100);
    for (let sent = 0; !response.destroyed; ) {
      while (sent < task.events.length) response.write(task.events[sent++]);
      if (task.status !== 'running') break;
      await new Promise((resolve) => task.readers.push(resolve));
    }
    clearInterval(ping);
    response.end();
  }

  async function generate(request, response, body) {
    const input = JSON.parse(body);
    const id = request.headers['idempotency-key'] ?? input.task_id ?? randomUUID();
    let task = tasks.get(id);
    if (task?.status === 'running') return sendProblem(response, 'task_in_progress', 409, { retryable: true, retry_after_ms: 1000 });
    if (task?.status === 'succeeded') {
      if (!keepPictures) return sendProblem(response, 'task_already_completed', 409);
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      const done = task.pictures.map((picture) => listed(task, picture));
      const replay = [typed('start', { task_id: id, n: task.n, message: 'replay' }), ...done.map((data) => typed('image.done', data)), typed('done', { task_id: id, images: done, failed: [] })];
      return response.end(replay.join(''));
    }
    if (!task) tasks.set(id, (task = { id, n: input.n ?? 1, attempts: 0, pictures: [], readers: [] }));
    work(task);
    if (request.url.endsWith('generate-image')) {
      await task.done;
      response.writeHead(200, { 'content-type': 'application/json' });
      const data = task.pictures.map(({ png, ...picture }) => ({ ...picture, b64_json: png.toString('base64') }));
      return response.end(JSON.stringify({ created: 1, data, failed: [], usage: { total_tokens: 7 } }));
    }
    await stream(response, task);
  }

  async function answer(request, response) {
    const path = new URL(request.url, 'http://gateway').pathname;
    const body = await readBody(request);
    requests.push({ method: request.method, path, url: request.url, headers: request.headers, body, at: Date.now() });
    const script = scripts.find(({ route }) => route === `${request.method} ${path}`);
    if (script) {
      scripts.splice(scripts.indexOf(script), 1);
      return script.handler(request, response, body);
    }
    if (path.startsWith('/pictures/')) {
      const [, , id, index] = path.split('/');
      const picture = tasks.get(decodeURIComponent(id))?.pictures[index];
      if (request.headers.authorization || !picture) return sendProblem(response, 'forbidden', 403);
      response.writeHead(200, { 'content-type': 'image/png' });
      return response.end(picture.png);
    }
    if (token && request.headers.authorization !== `Bearer ${token}`) return sendProblem(response, 'token_expired', 401);
    if (request.method === 'POST') return generate(request, response, body);
    const [, id, pictures] = /^\/api\/generations(?:\/([^/]+)(\/pictures)?)?$/.exec(path) ?? [];
    if (!gateway.log || !path.startsWith('/api/generations')) return sendProblem(response, 'route_not_found', 404);
    if (!id) {
      response.writeHead(200, { 'content-type': 'application/json' });
      return response.end(JSON.stringify({ items: [...tasks.values()].map(item), next: null, rate: { limit: 5, remaining: 3, reset_ms: 8 } }));
    }
    const task = tasks.get(decodeURIComponent(id));
    if (!task) return sendProblem(response, 'task_not_found', 404);
    let status = 200;
    if (request.method === 'DELETE' && pictures) {
      task.pictures = [];
      response.writeHead(204);
      return response.end();
    }
    if (request.method === 'DELETE' && task.status === 'running') {
      task.cancelled = true;
      status = 202;
    }
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify(item(task)));
  }

  const server = createServer((request, response) => {
    answer(request, response).catch((error) => {
      if (error.code !== 'ECONNRESET' && error.message !== 'aborted') console.error(error);
      response.destroy();
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  gateway.url = `http://127.0.0.1:${server.address().port}`;
  gateway.port = server.address().port;
  gateway.next = (route, handler) => scripts.push({ route, handler });
  gateway.posts = () => requests.filter(({ method }) => method === 'POST');
  gateway.close = () => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  return gateway;
}

/** A handler that sends `parts` as an event stream, with pauses where a part is a number, and then ends or does `last`. */
export function streamOf(parts, last = (response) => response.end()) {
  return async (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.flushHeaders();
    for (const part of parts) {
      if (typeof part === 'number') await sleep(part);
      else response.write(part);
    }
    await sleep(5);
    last(response);
  };
}

export const cut = (response) => response.destroy();
export const stall = () => {};
