// Checks of .ci/examples: supabase-js and the examples against a running stack.
// node .ci/examples.mjs <vue or nextjs> <stack> <page of that example> <log of the stack>
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';

const [frontend, stack, page, log] = process.argv.slice(2);
const root = new URL('..', import.meta.url);
const ofExample = createRequire(new URL(`examples/${frontend}/package.json`, root));
const { createClient } = ofExample('@supabase/supabase-js');
const { createImageStream } = await import(pathToFileURL(ofExample.resolve('image-gateway-client/package.json')).href.replace('package.json', 'dist/image-stream.js'));

// supabase-js asks for a WebSocket, which Node 20 has not, and does not use it here.
const options = { auth: { persistSession: false, autoRefreshToken: false }, realtime: { transport: class {} } };
const newClient = () => createClient(stack, 'local', options);
/** The data of a call of supabase-js. */
async function ok(call) {
  const { data, error } = await call;
  assert.equal(error, null);
  return data;
}
const imagesOf = (supabase) =>
  createImageStream({
    url: page,
    token: async ({ refresh }) => {
      const { data } = await (refresh ? supabase.auth.refreshSession() : supabase.auth.getSession());
      return data.session?.access_token;
    },
  });

/** Calls that an example makes to its own host. */
const fetchAt = (host) => (path, init) => fetch(new URL(path, host), init);

const checks = {
  async 'supabase-js signs a user in, refreshes, reads the user and signs out'() {
    const supabase = newClient();
    const { session, user } = await ok(supabase.auth.signInWithPassword({ email: 'demo@example.com', password: 'demo' }));
    const refreshed = await ok(supabase.auth.refreshSession());
    assert.notEqual(refreshed.session.refresh_token, session.refresh_token);
    assert.equal((await ok(supabase.auth.getUser())).user.id, user.id);
    const { claims } = await ok(supabase.auth.getClaims());
    assert.equal(claims.sub, user.id);
    await ok(supabase.auth.signOut().then((answer) => ({ data: {}, ...answer })));
    const { error } = await newClient().auth.refreshSession({ refresh_token: refreshed.session.refresh_token });
    assert.equal(error.code, 'refresh_token_not_found');
    const { error: wrong } = await supabase.auth.signInWithPassword({ email: 'demo@example.com', password: 'wrong' });
    assert.equal(wrong.code, 'invalid_credentials');
  },
  async 'supabase-js signs a new user up'() {
    const supabase = newClient();
    const email = `new-${Date.now()}@example.cn`;
    const { session } = await ok(supabase.auth.signUp({ email, password: 'correct horse', options: { data: { name: '李雷' } } }));
    assert.equal(session.user.user_metadata.name, '李雷');
    const { imageData } = await imagesOf(supabase).generateImageStream({ prompt: 'a cat' });
    assert.match(imageData.dataUrl, /^data:image\/png;base64,iVBOR/);
    const { error } = await supabase.auth.signUp({ email, password: 'correct horse' });
    assert.equal(error.code, 'user_already_exists');
    const { error: weak } = await supabase.auth.signUp({ email: 'weak@example.cn', password: '123' });
    assert.deepEqual([weak.code, weak.reasons], ['weak_password', ['length']]);
  },
  async 'supabase-js signs a user in with the code that the stack prints'() {
    const supabase = newClient();
    const email = 'code@example.cn';
    await ok(supabase.auth.signInWithOtp({ email }));
    let code;
    for (let left = 50; left > 0 && !code; left--) {
      code = /sign-in code of code@example.cn: (\d{6})$/m.exec(readFileSync(log, 'utf8'))?.[1];
      if (!code) await sleep(100);
    }
    const { error } = await supabase.auth.verifyOtp({ email, token: code === '000000' ? '000001' : '000000', type: 'email' });
    assert.equal(error.code, 'otp_expired');
    await ok(supabase.auth.verifyOtp({ email, token: code, type: 'email' }));
    const { items } = await imagesOf(supabase).client.generations();
    assert.deepEqual(items, []);
  },
  async 'supabase-js makes an anonymous user'() {
    const supabase = newClient();
    const { user } = await ok(supabase.auth.signInAnonymously());
    assert.equal(user.is_anonymous, true);
    const { imageData } = await imagesOf(supabase).generateImageStream({ prompt: 'a cat' });
    assert.ok(imageData);
  },
  async 'the statuses and the progress are the documented ones, through the rewrites of the example'() {
    const supabase = newClient();
    await ok(supabase.auth.signInWithPassword({ email: 'demo+ci@example.com', password: 'demo' }));
    const statuses = [];
    const lengths = [];
    const { generateImageStream, generateImage, client } = imagesOf(supabase);
    const result = await generateImageStream({
      prompt: '生成一张婚纱照',
      n: 4,
      onProgress: (content) => lengths.push(content.length),
      onStatus: (status) => statuses.push(status),
    });
    assert.deepEqual(statuses, ['connecting', 'streaming', 'parsing', 'completed']);
    assert.ok(lengths.length > 20 && lengths.every((length, at) => length >= (lengths[at - 1] ?? 0)), `${lengths.length}`);
    assert.equal(result.images.length, 1);
    assert.match((await generateImage({ prompt: 'a cat' })).imageUrl, /^data:image\/|^http/);
    const { items } = await client.generations();
    assert.deepEqual(items.map(({ status }) => status), ['succeeded', 'succeeded']);
  },
  async 'the rewrites of the example do not hold a stream until its end'() {
    const supabase = newClient();
    await ok(supabase.auth.signInWithPassword({ email: 'demo+stream@example.com', password: 'demo' }));
    const { client } = imagesOf(supabase);
    const statuses = [];
    // On a busy machine a picture may be made before the log is asked.
    for (let left = 3; left > 0 && !statuses.includes('running'); left--) {
      const run = client.generate({ prompt: 'a cat' });
      for await (const { type } of run) if (type === 'start') statuses.push((await client.generation(run.taskId)).status);
    }
    assert.ok(statuses.includes('running'), `${statuses}`);
  },
  async 'the corrected JavaScript sample reads every event'() {
    const supabase = newClient();
    await ok(supabase.auth.signInWithPassword({ email: 'demo+js@example.com', password: 'demo' }));
    const sample = readFileSync(new URL('examples/faceflip/sample.js', root), 'utf8');
    const said = [];
    const console = { log: (...texts) => said.push(texts), error: (...texts) => said.push(texts) };
    const AsyncFunction = (async () => {}).constructor;
    // The function returns the promise that the sample makes.
    const run = new AsyncFunction('supabase', 'fetch', 'console', sample.replace(/^fetch\(/m, 'return fetch('));
    await run(supabase, fetchAt(page), console);
    const labels = said.map(([label]) => label);
    for (const label of ['开始生成图像', '正在处理...', '生成完成:', '流结束']) assert.ok(labels.includes(label), `${label}: ${labels}`);
    const { generated_images: images } = said.find(([label]) => label === '生成完成:')[1];
    assert.equal(images.length, 3);

    said.length = 0;
    const cut = async () => new Response('event: start\ndata: {"event":"start","data":{}}\n\n');
    await run(supabase, cut, console);
    assert.match(`${said.at(-1)}`, /请求失败.*连接中断/);
  },
  ...(frontend === 'vue' && { async 'the corrected Vue component shows pictures, refusals and broken streams'() {
    const supabase = newClient();
    await ok(supabase.auth.signInWithPassword({ email: 'demo+vue@example.com', password: 'demo' }));
    const { parse, compileTemplate } = ofExample('vue/compiler-sfc');
    const { descriptor, errors } = parse(readFileSync(new URL('examples/faceflip/GenerateImages.vue', root), 'utf8'));
    assert.deepEqual(errors, []);
    assert.deepEqual(compileTemplate({ source: descriptor.template.content, id: 'x', filename: 'x.vue' }).errors, []);
    const script = descriptor.script.content.replace(/import .*\n/, '').replace('export default', 'return');
    async function run(user, fetch) {
      const { data, methods } = new Function('supabase', 'fetch', 'console', script)(user, fetch, { log() {} });
      const component = { ...data(), ...methods };
      await component.generateImages();
      assert.equal(component.isGenerating, false);
      return component;
    }
    const shown = await run(supabase, fetchAt(page));
    assert.deepEqual([shown.generatedImages.length, shown.errorMessage], [3, '']);
    const refused = await run(newClient(), fetchAt(page));
    assert.match(refused.errorMessage, /登录|sign in/i);
    const whole = new TextEncoder().encode('data: {"event":"error","data":{"error":"原因：太慢","message":"图像生成失败"}}\n\n');
    const pieces = async () => new Response(new ReadableStream({ start: (to) => (whole.forEach((byte) => to.enqueue(Uint8Array.of(byte))), to.close()) }));
    assert.equal((await run(supabase, pieces)).errorMessage, '原因：太慢');
    const cut = await run(supabase, async () => new Response('data: {"event":"start","data":{}}\n\n'));
    assert.match(cut.errorMessage, /连接中断/);
  } }),
};

const executablePath = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
assert(executablePath, 'Chromium is missing: .ci/chromium installs it');
const { chromium } = createRequire(new URL('web/package.json', root))('playwright-core');
const launch = { executablePath, args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run'] };
/** Runs `check` in a fresh browser page and fails on an error of the page. */
async function browse(url, locale, check) {
  const browser = await chromium.launch(launch);
  try {
    const context = await browser.newContext({ locale });
    // As on a page without TLS, for example on a phone in the same network.
    await context.addInitScript(() => void delete Crypto.prototype.randomUUID);
    const tab = await context.newPage();
    const mistakes = [];
    tab.on('pageerror', (error) => mistakes.push(error.message));
    tab.on('console', (message) => message.type() === 'error' && mistakes.push(message.text()));
    await tab.goto(url);
    await check(tab);
    assert.deepEqual(mistakes.filter((text) => !text.includes('favicon') && !text.includes('404')), []);
  } finally {
    await browser.close();
  }
}
/** A photo that the browser makes. */
async function photo(tab, width, height) {
  const bytes = await tab.evaluate(async ([width, height]) => {
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext('2d');
    for (let at = 0; at < 3000; at++) {
      context.fillStyle = `hsl(${at * 7} 80% 50%)`;
      context.fillRect((at * 97) % width, (at * 61) % height, width / 40, height / 40);
    }
    const blob = await canvas.convertToBlob({ type: 'image/jpeg', quality: 0.95 });
    return [...new Uint8Array(await blob.arrayBuffer())];
  }, [width, height]);
  return { name: 'photo.jpg', mimeType: 'image/jpeg', buffer: Buffer.from(bytes) };
}
const decoded = (selector) => `(async () => { const image = document.querySelector('${selector}'); await image.decode(); return image.naturalWidth; })()`;
const save = async (tab, name) => process.env.SCREENSHOTS && tab.screenshot({ path: `${process.env.SCREENSHOTS}/${name}.png`, fullPage: true });

for (const [locale, signIn, generate, done] of [['zh-CN', '登录', '生成', '完成'], ['en-US', 'Sign in', 'Generate', 'Done']]) {
  checks[`the example ${frontend} makes a picture in Chromium, ${locale}`] = () =>
    browse(page, locale, async (tab) => {
      await save(tab, `${frontend}-sign-in-${locale}`);
      await tab.getByRole('button', { name: signIn, exact: true }).click();
      await tab.locator('textarea').fill('海边的婚纱照');
      const large = await photo(tab, 4032, 3024);
      await tab.locator('input[type=file]').setInputFiles(large);
      const sent = tab.waitForRequest((request) => request.method() === 'POST' && request.url().endsWith('/api/generate-stream'));
      await tab.getByRole('button', { name: generate, exact: true }).click();
      const [scaled] = JSON.parse((await sent).postData()).image_inputs;
      assert.match(scaled, /^data:image\/jpeg;base64,/);
      assert.ok(scaled.length < large.buffer.length, `${scaled.length} of ${large.buffer.length}`);
      await tab.locator('figure img').waitFor();
      assert.ok((await tab.evaluate(decoded('figure img'))) >= 512);
      assert.match(await tab.locator('[role=status]').innerText(), new RegExp(done));
      await save(tab, `${frontend}-done-${locale}`);
    });
}
checks['image-edit-demo.html edits a photo in Chromium'] = async () => {
  const types = { html: 'text/html', js: 'text/javascript' };
  const server = createServer((request, response) => {
    const path = fileURLToPath(new URL(request.url.slice(1).split('?')[0], root));
    if (!existsSync(path)) return response.writeHead(404).end();
    const file = readFileSync(path);
    response.writeHead(200, { 'content-type': types[path.split('.').at(-1)] });
    response.end(path.endsWith('.html') ? file.toString().replaceAll('http://127.0.0.1:8787', stack) : file);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${server.address().port}/examples/image-edit-demo.html`;
  try {
    await browse(url, 'zh-CN', async (tab) => {
      await tab.getByRole('button', { name: '登录' }).click();
      await tab.locator('input[type=file]').setInputFiles(await photo(tab, 640, 480));
      await tab.locator('textarea').fill('换成海边的背景');
      await tab.getByRole('button', { name: '开始' }).click();
      await tab.getByRole('link', { name: '下载' }).waitFor();
      assert.ok((await tab.evaluate(decoded('#after'))) >= 512);
      await save(tab, 'image-edit-demo');
      const before = await tab.evaluate(decoded('#before'));
      await tab.getByRole('button', { name: '继续修改' }).click();
      assert.notEqual(await tab.evaluate(decoded('#before')), before);
    });
  } finally {
    server.close();
  }
};

for (const [name, check] of Object.entries(checks)) {
  try {
    await check();
    console.log(`ok: ${name}`);
  } catch (error) {
    console.error(`FAILED: ${name}`);
    throw error;
  }
}
