// The create page in Chromium, against the real local stack, and against the fake gateway where a state needs a service
// that keeps pictures. `node test/page.mjs <stack binary> <folder for screenshots> [word in the names of the tests]`
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { cut, doneOf, pictureEvents, sendProblem, sleep, stall, streamOf, typed } from './support/gateway.mjs';
import { makeLandscape, startPage } from './support/page-server.mjs';
import { startBrowser, startStack } from './support/page-driver.mjs';

const [binary, shots, only = ''] = process.argv.slice(2);
const browser = await startBrowser(shots);
const tests = [];
const test = (name, run) => tests.push({ name, run });

/**
 * A stack for each setting, started when it is needed. Tests run side by side: one that compares drawn pictures, or sets
 * a fault of the upstream, has a speed that no other test has.
 */
const stacks = new Map();
async function stackWith(variables = {}, speed = 2) {
  const key = JSON.stringify([variables, speed]);
  if (!stacks.has(key)) stacks.set(key, startStack(binary, ['--speed', `${speed}`], { RL_LIMIT: '1000', DAILY_LIMIT: '1000', MAX_IN_FLIGHT: '100', CREDITS: 'on', CREDITS_INITIAL: '400', ...variables }));
  return stacks.get(key);
}

const post = (page, path) => {
  const sent = [];
  page.on('request', (request) => request.method() === 'POST' && request.url().includes(path) && sent.push(request));
  return sent;
};
const prompts = { zh: '雨夜的上海弄堂，霓虹倒影', en: 'A Shanghai lane in the rain' };
async function generate({ page, texts, press }, { count = 1, ratio = '', prompt = prompts[texts.zh ? 'zh' : 'en'] } = {}) {
  await page.locator('#prompt').fill(prompt);
  await page.locator(`[name=count][value="${count}"]`).check();
  await page.locator(`[name=ratio][value="${ratio}"]`).check();
  await press('生成', 'Generate');
}
const fault = async (page, name) => {
  if (!(await page.locator('.bench').getAttribute('open').then((open) => open !== null))) await page.locator('.bench summary').click();
  await page.locator('#bench-fault').selectOption(name);
};
/** Everything that the browser keeps, as text. */
const kept = (page) =>
  page.evaluate(async () => {
    const photos = await new Promise((resolve) => {
      const opening = indexedDB.open('darkroom', 1);
      opening.onupgradeneeded = () => opening.result.createObjectStore('photos');
      opening.onsuccess = () => (opening.result.transaction('photos').objectStore('photos').count().onsuccess = ({ target }) => resolve(target.result));
    });
    return { photos, text: JSON.stringify({ ...localStorage, ...sessionStorage }) };
  });
async function until(check) {
  const end = Date.now() + 30_000;
  while (!(await check())) {
    if (Date.now() > end) throw new Error(`not within 30 s: ${check}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
const widths = (page, selector) => page.locator(selector).evaluateAll((images) => images.map((image) => image.naturalWidth));

test('one picture is shown while it arrives, and is the one that was drawn', async () => {
  const { url } = await stackWith({}, 1.1);
  const view = await browser.open(url);
  const { page, check, checkShifts, strip } = view;
  await page.locator('.sheet-note-title').first().waitFor();
  await check('ready');
  const sent = post(page, '/api/generate-stream');
  await page.locator('.bench summary').click();
  await generate(view, { ratio: '4:3' });
  await page.locator('.frame[data-state=receiving] img').waitFor();
  await check('receiving', { full: false });
  await strip('done');
  await page.locator('.pair').waitFor();
  assert.deepEqual(await page.locator('.verdict').allTextContents(), ['一致']);
  await checkShifts('a picture that grows');
  await check('done');
  assert.equal(sent.length, 1);
  assert.deepEqual(JSON.parse(sent[0].postData()), { prompt: prompts.zh, n: 1, model: 'gemini-2.5-flash-image', image_inputs: [], aspect_ratio: '4:3', format: 'events' });
  const [width] = await widths(page, '.frame img');
  assert.ok(width > 1000, `${width} px`);
  const token = sent[0].headers().authorization.slice('Bearer '.length);
  const { photos, text } = await kept(page);
  assert.ok(photos === 0 && text.includes(prompts.zh) && !text.includes(token), 'the caption stays, the request and the token do not');
  assert.ok(!text.includes('darkroom.last'));

  await page.locator('.frame .plate').click();
  await page.locator('.viewer[open] img').waitFor();
  await check('viewer', { full: false });
  const [download] = await Promise.all([page.waitForEvent('download'), page.locator('.viewer').getByRole('button', { name: '下载' }).click()]);
  const file = readFileSync(await download.path());
  assert.ok(file.subarray(1, 4).toString() === 'PNG' && file.length > 500_000);
  await page.locator('.viewer').getByRole('button', { name: '复制' }).click();
  await page.getByText('已复制图片').first().waitFor();
  assert.deepEqual(await page.evaluate(async () => (await navigator.clipboard.read())[0].types), ['image/png']);
  await page.locator('.viewer').getByRole('button', { name: '用作参考' }).click();
  await page.locator('.slot.photo').waitFor();
  await generate(view);
  await strip('running');
  await strip('done');
  assert.match(JSON.parse(sent[1].postData()).image_inputs[0], /^data:image\/(png|jpeg);base64,/);
  assert.deepEqual(await page.locator('.card .card-caption').allTextContents(), [prompts.zh, prompts.zh]);
  await view.close();
});

test('downloads and copies have the visible label, and downloads the implicit one', async () => {
  // An invented code with a valid check character.
  const { url } = await stackWith({ AIGC_PRODUCER: '001191110000100000000R10001' });
  const view = await browser.open(url, { language: 'en' });
  const { page, strip } = view;
  await page.locator('.composer').waitFor();
  const loaded = [];
  page.on('request', (request) => loaded.push(request.url()));
  await generate(view, { ratio: '4:3' });
  await strip('done');
  const badge = (selector, pseudo) => page.locator(selector).first().evaluate((element, pseudo) => getComputedStyle(element, pseudo).content, pseudo);
  assert.equal(await badge('.frame .plate', '::before'), '"AI-generated"');
  assert.equal(await badge('.mosaic-open', '::after'), '"AI-generated"');
  const isLoaded = () => loaded.some((url) => url.endsWith('/visible-label.js'));
  assert.ok(!isLoaded(), 'the code is loaded when it is needed');
  const [download] = await Promise.all([page.waitForEvent('download'), page.locator('.frame').getByRole('button', { name: 'Download' }).click()]);
  const file = readFileSync(await download.path());
  assert.ok(isLoaded());
  const text = file.toString('latin1');
  assert.equal(text.split('<TC260:AIGC>').length, 2);
  assert.match(text, /&quot;ContentProducer&quot;:&quot;001191110000100000000R10001&quot;,&quot;ProduceID&quot;:&quot;[0-9a-f]{32}-0&quot;/);
  await page.locator('.frame').getByRole('button', { name: 'Copy' }).click();
  await page.getByText('Picture copied').first().waitFor();
  // The pixels that differ from the picture as it came.
  const boxes = await page.evaluate(async (base64) => {
    const pixels = async (source) => {
      const bitmap = await createImageBitmap(source);
      const context = Object.assign(document.createElement('canvas'), { width: bitmap.width, height: bitmap.height }).getContext('2d');
      context.drawImage(bitmap, 0, 0);
      return context.getImageData(0, 0, bitmap.width, bitmap.height);
    };
    const before = await pixels(document.querySelector('.frame img'));
    const copied = await (await navigator.clipboard.read())[0].getType('image/png');
    const after = [new Blob([Uint8Array.from(atob(base64), (char) => char.charCodeAt(0))]), copied];
    return Promise.all(after.map(async (blob) => {
      const { data, width, height } = await pixels(blob);
      const [xs, ys] = [[], []];
      for (let at = 0; at < data.length; at++) {
        if (data[at] === before.data[at]) continue;
        xs.push((at >> 2) % width);
        ys.push(Math.floor((at >> 2) / width));
      }
      const [low, high] = [(all) => all.reduce((a, b) => Math.min(a, b)), (all) => all.reduce((a, b) => Math.max(a, b))];
      return { width, height, left: low(xs), right: high(xs), top: low(ys), bottom: high(ys) };
    }));
  }, file.toString('base64'));
  for (const { width, height, left, right, top, bottom } of boxes) {
    assert.ok(bottom - top >= 0.05 * Math.min(width, height), `${bottom - top} of ${height} px`);
    assert.ok(left > width / 2 && right < width && top > height * 0.8 && bottom < height, 'in the lower right corner');
  }
  await view.close();
});

test('four pictures arrive at once', async () => {
  const { url } = await stackWith({}, 1.2);
  const view = await browser.open(url, { language: 'en', theme: 'dark' });
  const { page, check, checkShifts, strip } = view;
  await page.locator('.composer').waitFor();
  await generate(view, { count: 4, ratio: '16:9' });
  await page.locator('.frame[data-state=receiving] img').nth(3).waitFor();
  await check('four-receiving', { full: false });
  await strip('done');
  await checkShifts('four pictures that grow');
  assert.equal((await widths(page, '.frame img')).filter((width) => width > 1000).length, 4);
  await check('four-done');
  // One fails, the others stay.
  await fault(page, 'upstream-cut');
  await generate(view, { count: 4 });
  await strip('running');
  await strip('done');
  assert.equal(await page.locator('.frame[data-state=failed]').count(), 1);
  assert.equal(await page.locator('.frame[data-state=whole]').count(), 3);
  await page.getByText('3 finished and 1 failed').first().waitFor();
  await check('four-partly');
  await view.close();
});

test('a draft is shown below the picture that replaces it', async () => {
  const { url } = await stackWith({}, 0.5);
  const view = await browser.open(url, { language: 'zh', theme: 'dark' });
  const { page, check, checkShifts, strip } = view;
  await page.locator('.bench summary').click();
  await page.locator('#bench-shape').selectOption('images-stream');
  await page.locator('#model').selectOption('gemini-3-pro-image');
  await generate(view);
  await page.locator('.frame[data-state=draft] img[data-preview]').waitFor({ timeout: 60_000 });
  assert.equal(await page.locator('.frame img').count(), 2);
  await page.getByText('草稿').first().waitFor();
  await check('draft', { full: false });
  await strip('done');
  await checkShifts('drafts');
  assert.equal(await page.locator('.frame[data-state=whole] img').count(), 1);
  await view.close();
});

test('a face swap from links and photos', async () => {
  const { url } = await stackWith({});
  const view = await browser.open(url, { language: 'zh', width: 360 });
  const { page, check, checkShifts, strip, press } = view;
  await page.locator('.modes [value=faces]').check();
  await press('生成', 'Generate');
  await page.getByText('请添加至少一张照片或一个链接').waitFor();
  await page.locator('#links').fill('https://example.com/image1.jpg\nhttp://example.com/image2.jpg');
  await press('生成', 'Generate');
  await page.getByText('第 2 行不是 https 链接').waitFor();
  await check('faces-problem');
  await page.locator('#links').fill('https://example.com/image1.jpg');
  await page.locator('.field:not([hidden]) > .tray input[type=file]').setInputFiles({ name: 'face.png', mimeType: 'image/png', buffer: makeLandscape('face', 2600, 1300) });
  await page.locator('.slot.photo').waitFor();
  const sent = post(page, '/faceflip/');
  await press('生成', 'Generate');
  await strip('running');
  await page.locator('.frame[data-state=whole]').first().waitFor();
  await strip('done');
  await checkShifts('a face swap');
  const { urls, task_id } = JSON.parse(sent[0].postData());
  assert.ok(urls[0] === 'https://example.com/image1.jpg' && /^data:image/.test(urls[1]) && task_id);
  await page.locator('.frame img').nth(2).waitFor();
  assert.equal((await widths(page, '.frame img')).filter((width) => width > 1000).length, 3);
  await check('faces-done');
  await view.close();
});

test('a phone on the same network reaches the page and every picture', async () => {
  const stack = await startStack(binary, ['--speed', '10', '--host', '127.0.0.2']);
  const view = await browser.open(stack.url.replace('127.0.0.1', '127.0.0.2'), { language: 'en', width: 360 });
  const { page, strip, press } = view;
  await page.locator('.modes [value=faces]').check();
  await page.locator('#links').fill('https://example.com/image1.jpg');
  await press('生成', 'Generate');
  await strip('done');
  // The links of the fakes lead to 127.0.0.1, which a phone does not reach.
  await page.locator('.frame img').nth(2).waitFor();
  const sources = await page.locator('.frame img').evaluateAll((images) => images.map(({ src }) => new URL(src).host));
  assert.deepEqual([...new Set(sources)], [new URL(page.url()).host]);
  assert.equal((await widths(page, '.frame img')).filter((width) => width > 1000).length, 3);
  // Nor those of the bucket.
  await page.locator('.modes [value=words]').check();
  await generate(view);
  await strip('running');
  await strip('done');
  await page.reload();
  await page.locator('.card', { hasText: 'Kept until' }).locator('img').first().waitFor();
  await until(async () => (await widths(page, '.mosaic[data-count="1"] img'))[0] > 1000);
  await view.close();
  stack.close();
});

test('photos are scaled down, counted and kept in order', async () => {
  const { url } = await stackWith({});
  const view = await browser.open(url, { language: 'en' });
  const { page, check, press } = view;
  const input = page.locator('.field:not([hidden]) > .tray input[type=file]');
  const photo = (name, seed) => ({ name, mimeType: 'image/png', buffer: makeLandscape(seed, 2400, 1600) });
  await input.setInputFiles([photo('a.png', 1), photo('b.png', 2)]);
  await page.locator('.slot.busy').first().waitFor();
  await page.locator('.slot.photo').nth(1).waitFor();
  assert.match(await page.locator('.slot.photo .size').first().textContent(), /^\d+\.\d → [01]\.\d+ MB$/);
  await input.setInputFiles([photo('c.png', 3), photo('d.png', 4)]);
  await page.getByText('At most 3 photos').waitFor();
  await page.locator('.slot.photo').nth(2).waitFor();
  await page.locator('#prompt').fill('x'.repeat(4001));
  await press('生成', 'Generate');
  await page.getByText('The prompt may have 4000 characters at most').waitFor();
  assert.ok(await page.locator('#prompt').evaluate((field) => field === document.activeElement));
  // The sentences below the fields answer an input; a test's files and keys are none.
  await page.evaluate(() => globalThis.shifts.splice(0));
  await check('full');
  await page.getByRole('button', { name: 'Remove photo 2' }).click();
  assert.equal(await page.locator('.slot.photo').count(), 2);
  await input.setInputFiles([{ name: 'x.heic', mimeType: 'image/heic', buffer: Buffer.from('000000186674797068656963', 'hex') }]);
  await page.getByText('This browser cannot read HEIC').waitFor();
  // Pasted and dropped.
  await page.evaluate((bytes) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([new Uint8Array(bytes)], 'p.png', { type: 'image/png' }));
    dispatchEvent(Object.assign(new ClipboardEvent('paste', { clipboardData: transfer, bubbles: true })));
  }, [...makeLandscape('pasted', 60, 60)]);
  await page.locator('.slot.photo').nth(2).waitFor();
  await page.getByRole('button', { name: 'Remove photo 1' }).click();
  await page.evaluate((bytes) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([new Uint8Array(bytes)], 'p.png', { type: 'image/png' }));
    for (const type of ['dragenter', 'dragover', 'drop']) document.querySelector('.film').dispatchEvent(new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true }));
  }, [...makeLandscape('dropped', 60, 60)]);
  await page.locator('.slot.photo').nth(2).waitFor();
  await view.close();
});

test('after a 429 nothing can be sent until the service allows it', async () => {
  const { url } = await stackWith({ RL_LIMIT: '1', RL_WINDOW_MS: '12000' }, 'inf');
  const view = await browser.open(url, { language: 'zh' });
  const { page, check, checkShifts, strip, press } = view;
  await page.locator('.pip').waitFor();
  await generate(view);
  await strip('done');
  await generate(view);
  await strip('failed');
  await page.getByText('生成太频繁').first().waitFor();
  const sent = post(page, '/api/generate-stream');
  const [submit, retry] = [page.locator('.generate'), page.locator('.strip-actions .primary')];
  assert.equal(await submit.getAttribute('aria-disabled'), 'true');
  assert.equal(await retry.getAttribute('aria-disabled'), 'true');
  const seconds = async () => +/\d+/.exec(await retry.textContent())?.[0];
  const first = await seconds();
  assert.ok(first > 0 && first <= 12);
  assert.ok(!(await page.locator('[role=alert]:visible').allTextContents()).some((text) => text.includes(`${first} 秒`)), 'the number is outside the alert');
  await submit.click({ force: true });
  await retry.click({ force: true });
  await page.keyboard.press('Control+Enter');
  await check('rate-limited');
  assert.ok((await seconds()) < first, 'the number counts down');
  assert.equal(sent.length, 0);
  await page.locator('.generate[aria-disabled=false]').waitFor({ timeout: 15_000 });
  await checkShifts('the countdown');
  await press('重试', 'Try again');
  await strip('done');
  assert.equal(sent.length, 1);
  await view.close();
});

test('a stream that is cut goes on from the log', async () => {
  const { url } = await stackWith({}, 0.9);
  const view = await browser.open(url, { language: 'zh' });
  const { page, check, checkShifts, strip } = view;
  await page.locator('.composer').waitFor();
  await fault(page, 'cut');
  const sent = post(page, '/api/generate-stream');
  await generate(view);
  await page.getByText('连接断了').first().waitFor();
  await checkShifts('a cut stream');
  await check('resumed', { full: false });
  await strip('done');
  await page.locator('.verdict').waitFor();
  assert.deepEqual(await page.locator('.verdict').allTextContents(), ['一致']);
  assert.equal(sent.length, 1, 'nothing is sent again');
  await checkShifts('a resumed stream');
  await view.close();
});

test('a failed request can be tried again after a reload', async () => {
  const { url } = await stackWith({ PICTURES_BUCKET: '' }, 1);
  const view = await browser.open(url, { language: 'en' });
  const { page, check, strip, press } = view;
  await page.locator('.composer').waitFor();
  await page.locator('.field:not([hidden]) > .tray input[type=file]').setInputFiles({ name: 'p.png', mimeType: 'image/png', buffer: makeLandscape('photo', 900, 600) });
  await page.locator('.slot.photo').waitFor();
  await fault(page, 'cut');
  const sent = post(page, '/api/generate-stream');
  await generate(view);
  await strip('failed');
  await check('interrupted');
  assert.equal((await kept(page)).photos, 1);
  await page.reload();
  await strip('failed');
  assert.equal(await page.locator('#prompt').inputValue(), prompts.en);
  await page.locator('.slot.photo').waitFor();
  await check('failed-before-reload');
  await press('重试', 'Try again');
  await strip('done');
  assert.equal(sent[1].headers()['idempotency-key'], sent[0].headers()['idempotency-key']);
  assert.deepEqual(JSON.parse(sent[1].postData()).image_inputs, JSON.parse(sent[0].postData()).image_inputs, 'the same photo');
  const { photos, text } = await kept(page);
  assert.ok(photos === 0 && !text.includes('darkroom.last'), 'deleted on success');
  await view.close();
});

test('a page that is reloaded in the middle gets its picture', async () => {
  const { url } = await stackWith({}, 0.5);
  const view = await browser.open(url, { language: 'zh', width: 768 });
  const { page, check, checkShifts, strip, press } = view;
  await page.locator('.composer').waitFor();
  const sent = post(page, '/api/generate-stream');
  await generate(view);
  await page.locator('.frame[data-state=receiving]').waitFor();
  await page.reload();
  await strip('running');
  await page.getByText('正在取回').first().waitFor();
  assert.equal(await page.locator('#prompt').inputValue(), prompts.zh);
  await check('reloaded', { full: false });
  await strip('done');
  await checkShifts('a page that was reloaded');
  await page.locator('.frame img').waitFor();
  assert.ok((await widths(page, '.frame img'))[0] > 1000);
  assert.equal(sent.length, 1);
  // The history, as another visit has it.
  await page.reload();
  await page.locator('.mosaic img').waitFor();
  await page.getByText('保存至').waitFor();
  await page.locator('.mosaic-open').click();
  await page.locator('.viewer[open]').getByText('保存至').waitFor();
  await check('viewer-history', { full: false });
  const [download] = await Promise.all([page.waitForEvent('download'), page.locator('.viewer').getByRole('button', { name: '下载' }).click()]);
  assert.ok(readFileSync(await download.path()).length > 500_000);
  await press('删除保存的图片', 'Erase the kept pictures');
  await press('再按一次，永久删除', 'Press again to erase permanently');
  await page.getByText('图片已永久删除').first().waitFor();
  await page.reload();
  await page.getByText('已过期或已删除').or(page.getByText('未保存')).first().waitFor();
  assert.equal(await page.locator('.mosaic img').count(), 0);
  await check('erased');
  await view.close();
});

test('failures have a sentence in each language, and a retry where it helps', async () => {
  const { url } = await stackWith({}, 3);
  const view = await browser.open(url, { language: 'zh' });
  const { page, check, texts } = view;
  await page.locator('.composer').waitFor();
  for (const [name, sentence, canRetry] of [
    ['moderated', '内容未通过审核', false],
    ['no-picture', '模型没有返回图片', true],
    ['upstream-busy', '模型繁忙', true],
    ['platform-502', '服务暂时不可用', true],
  ]) {
    await fault(page, name);
    await generate(view);
    await page.locator('.failure-title', { hasText: sentence }).waitFor();
    assert.equal(await page.locator('.strip-actions .primary').isVisible(), canRetry, name);
    if (name === 'moderated') await check('refused');
  }
  await page.locator('.failure summary').click();
  assert.match(await page.locator('.failure dd').first().textContent(), /^(http_502|upstream_busy)$/);
  // The other language, without a reload.
  await page.getByRole('button', { name: 'Switch to English' }).click();
  texts.zh = false;
  assert.equal(await page.locator('.failure-title').textContent(), 'The service is not available');
  assert.equal(await page.title(), 'Darkroom');
  await view.close();
});

test('a service that cannot be reached is no loss', async () => {
  const { url } = await stackWith({});
  const view = await browser.open(url, { language: 'en' });
  await view.page.locator('.composer').waitFor();
  await fault(view.page, 'offline');
  await generate(view);
  await view.page.locator('.failure-title', { hasText: 'No connection' }).waitFor({ timeout: 30_000 });
  await fault(view.page, '');
  await view.press('重试', 'Try again');
  await view.strip('done');
  await view.close();
});

test('a session that has ended asks for sign-in, and the request goes on', async () => {
  const { url } = await stackWith({});
  const view = await browser.open(url, { language: 'en' });
  const { page, check, strip, press } = view;
  await page.locator('.composer').waitFor();
  await page.locator('.bench summary').click();
  await press('会话失效', 'End the session');
  await page.getByText('The session was ended').first().waitFor();
  await generate(view);
  await page.locator('dialog.again[open]').waitFor();
  await check('signed-out-again', { full: false });
  await page.locator('dialog.again .primary').click();
  await strip('done');
  // A second press sends nothing.
  const sent = post(page, '/api/generate-stream');
  await page.locator('.generate').evaluate((button) => (button.click(), button.click()));
  await strip('running');
  await page.locator('.menu summary').click();
  await check('menu', { full: false });
  assert.equal(sent.length, 1);
  await press('退出登录', 'Sign out');
  await page.locator('.front').waitFor();
  assert.ok(!(await kept(page)).text.includes(prompts.en), 'captions are deleted');
  await page.locator('#password').fill('wrong');
  await press('登录', 'Sign in');
  await page.getByText('The e-mail or password is wrong').waitFor();
  await check('signed-out');
  await page.reload();
  await page.locator('.front').waitFor();
  await page.locator('#email').fill('demo+anna@example.com');
  await press('登录', 'Sign in');
  await page.locator('.composer').waitFor();
  assert.equal(await page.locator('.menu-email').textContent(), 'demo+anna@example.com');
  assert.equal(await page.locator('.card:not(.skeleton)').count(), 0, 'another user has another history');
  await generate(view);
  await strip('done');
  await view.close();
});

test('an expired token is refreshed without a question', async () => {
  const { url } = await stackWith({});
  const view = await browser.open(url);
  await view.page.locator('.composer').waitFor();
  await view.page.locator('.bench summary').click();
  await view.press('令牌过期', 'Expire the token');
  await view.page.getByText('令牌已换成过期的').first().waitFor();
  await generate(view);
  await view.strip('done');
  assert.equal(await view.page.locator('dialog[open]').count(), 0);
  await view.close();
});

test('cancel stops the page, and says whether the service stops too', async () => {
  const { url } = await stackWith({}, 1);
  const view = await browser.open(url, { language: 'en' });
  const { page, check, checkShifts, strip } = view;
  await page.locator('.composer').waitFor();
  await generate(view);
  await page.locator('.frame[data-state=receiving] img').waitFor();
  await page.keyboard.press('Escape');
  await strip('cancelled');
  await page.getByText('The service has stopped too').first().waitFor();
  await checkShifts('cancel');
  await check('cancelled');
  assert.equal(await page.locator('.frame img').count(), 0, 'an unfinished picture is taken away');
  await view.close();
});

test('a sign-in with a code, several kept pictures, and links that have expired', async () => {
  const server = await startPage({ workMs: 300, pauseMs: 2 });
  const view = await browser.open(server.url, { language: 'en' });
  const { page, check, checkShifts, strip, press, say } = view;
  await page.locator('.front').waitFor();
  await page.getByRole('button', { name: 'Use a code by e-mail' }).click();
  await page.locator('#email').fill('someone@example.com');
  await press('发送验证码', 'Send a code');
  await page.getByText('A code was sent to someone@example.com').waitFor();
  await check('code');
  await page.locator('#code').fill('123456');
  await press('登录', 'Sign in');
  await page.locator('.composer').waitFor();
  await generate(view, { count: 2 });
  await page.locator('.frame[data-state=receiving]').first().waitFor();
  await page.reload();
  await strip('done');
  await checkShifts('resumed after a reload');
  assert.equal((await widths(page, '.frame img')).filter(Boolean).length, 2, 'the pictures come from the log');
  assert.equal(server.gateway.upstreamCalls, 2);
  assert.equal((await kept(page)).text.includes('"access"'), false, 'the access token is not stored');
  await press('再来一次', 'Once more');
  await strip('running');
  await strip('done');
  await page.reload();
  await page.locator('.mosaic img').nth(3).waitFor();
  assert.equal(await page.locator('.card').count(), 2);
  await check('history');
  // A link that has expired is asked for again.
  await page.route('**/pictures/**', (route) => route.fulfill({ status: 403 }), { times: 4 });
  await page.reload();
  await page.locator('.mosaic img').nth(3).waitFor();
  await until(async () => (await widths(page, '.mosaic img')).filter(Boolean).length === 4);
  await page.locator('.mosaic-open').first().click();
  const [erase, sure] = [say('删除保存的图片', 'Erase the kept pictures'), say('再按一次，永久删除', 'Press again to erase permanently')];
  await check('viewer-kept', { full: false });
  await page.getByRole('button', { name: erase }).click();
  await page.getByRole('button', { name: sure }).click();
  await page.getByText('The pictures were erased').first().waitFor();
  await page.getByText('expired or were erased').waitFor();
  assert.ok(server.gateway.requests.some(({ method, path }) => method === 'DELETE' && path.endsWith('/pictures')));
  // Cancel, where the service stops too.
  await generate(view, { count: 4 });
  await page.locator('.frame[data-state=receiving]').first().waitFor();
  await press('取消', 'Cancel');
  await page.getByText('The service has stopped too').first().waitFor();
  await view.close();
  await server.close();
});

const GENERATE = 'POST /api/generate-stream';
/** The page before the fake gateway, with its user signed in. */
async function openSignedIn(server, options = {}) {
  const view = await browser.open(server.url, { language: 'en', ...options });
  await signIn(view, 'someone@example.com');
  await view.page.locator('.composer').waitFor();
  return view;
}
async function signIn({ page }, email) {
  await page.locator('#email').fill(email);
  await page.locator('#password').fill('demo');
  await page.locator('.sign-in .primary').click();
}
const twice = (page, name) => page.getByRole('button', { name, exact: true }).evaluate((button) => (button.click(), button.click()));

test('a double click is one request, and a browser that keeps nothing is enough', async () => {
  const server = await startPage({ workMs: 200 });
  const { gateway } = server;
  const view = await openSignedIn(server);
  const { page, strip } = view;
  await generate(view);
  await strip('done');
  await twice(page, 'Once more');
  await strip('running');
  await strip('done');
  assert.equal(gateway.upstreamCalls, 2);
  gateway.next(GENERATE, (_, response) => sendProblem(response, 'upstream_error', 502, { retryable: true }));
  await generate(view);
  await strip('failed');
  await twice(page, 'Try again');
  await strip('running');
  await strip('done');
  assert.equal(gateway.posts().length, 4);
  // In Safari the key that ends a text of an input method has this code.
  await page.locator('#prompt').evaluate((field) => field.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', keyCode: 229, ctrlKey: true, bubbles: true, cancelable: true })));
  await sleep(300);
  assert.equal(gateway.posts().length, 4);
  // Another tab has sent a request: the end of this one does not delete it.
  await generate(view);
  await strip('running');
  await page.evaluate(() => localStorage.setItem('darkroom.last', JSON.stringify({ ...JSON.parse(localStorage.getItem('darkroom.last')), taskId: 'other' })));
  await strip('done');
  await sleep(300);
  assert.match((await kept(page)).text, /darkroom.last.*other/);
  // Site data is blocked, and the store of photos does not answer.
  await view.close();
  const other = await browser.open(server.url, { language: 'en' });
  await other.context.addInitScript(() => {
    Object.defineProperty(globalThis, 'sessionStorage', { get() { throw new DOMException('blocked', 'SecurityError'); } });
    IDBFactory.prototype.open = () => ({});
  });
  await other.page.reload();
  await signIn(other, 'someone@example.com');
  await other.page.locator('.composer').waitFor();
  await generate(other);
  await other.strip('done');
  await other.close();
  await server.close();
});

test('photos that are still scaled down belong to the request', async () => {
  const server = await startPage({ workMs: 100 });
  const { gateway } = server;
  const view = await openSignedIn(server);
  const { page, strip, press } = view;
  const input = page.locator('.field:not([hidden]) > .tray input[type=file]');
  const photo = (name, seed) => ({ name, mimeType: 'image/png', buffer: makeLandscape(seed, 2400, 1600) });
  await page.locator('#prompt').fill('x');
  await input.setInputFiles([photo('a.png', 1), photo('b.png', 2), photo('c.png', 3)]);
  await page.locator('#prompt').press('Control+Enter');
  assert.ok(await page.locator('.slot.busy').count(), 'some are not ready');
  await strip('done');
  assert.equal(JSON.parse(gateway.posts()[0].body).image_inputs.length, 3);
  // One that cannot be used is not left out in silence.
  await page.getByRole('button', { name: 'Remove photo 3' }).click();
  const heic = { name: 'x.heic', mimeType: 'image/heic', buffer: Buffer.from('000000186674797068656963', 'hex') };
  await page.getByRole('button', { name: 'Remove photo 2' }).click();
  await input.setInputFiles([photo('d.png', 4), heic]);
  await page.locator('#prompt').press('Control+Enter');
  await page.getByText('This browser cannot read HEIC').waitFor();
  await page.locator('.generate[aria-disabled=false]').waitFor();
  assert.equal(gateway.posts().length, 1);
  // Nor what is beyond ten.
  await page.locator('.modes [value=faces]').check();
  await page.locator('#links').fill(Array.from({ length: 10 }, (_, at) => `https://example.com/${at}.jpg`).join('\n'));
  await input.setInputFiles([photo('e.png', 5)]);
  await page.locator('.tray[data-places="10"] .slot.photo').waitFor();
  await press('生成', 'Generate');
  await page.getByText('At most 10 photos and links together').waitFor();
  assert.equal(gateway.posts().length, 1);
  await view.close();
  await server.close();
});

test('an early cancel stops the task, and what was whole stays in the history', async () => {
  const server = await startPage({ keepPictures: false });
  const { gateway } = server;
  const view = await openSignedIn(server);
  const { page, strip, press } = view;
  const task = (id) => ({ id, n: 4, status: 'running', attempts: 1, pictures: [], readers: [] });
  gateway.next(GENERATE, async (request) => {
    await sleep(1500);
    const id = request.headers['idempotency-key'];
    gateway.tasks.set(id, task(id));
  });
  await generate(view);
  await until(() => gateway.posts().length === 1);
  await press('取消', 'Cancel');
  await page.getByText('The service has stopped too').first().waitFor();
  assert.ok([...gateway.tasks.values()][0].cancelled);
  const pngs = [1, 2, 3].map((seed) => makeLandscape(seed));
  gateway.next(GENERATE, (request, response) => {
    const id = request.headers['idempotency-key'];
    gateway.tasks.set(id, task(id));
    const events = pngs.map((png, index) => pictureEvents(index, png));
    return streamOf([typed('start', { task_id: id, n: 4 }), ...events[0], ...events[1], ...events[2].slice(0, 2)], stall)(request, response);
  });
  await generate(view, { count: 4 });
  await page.locator('.frame[data-state=receiving]').waitFor();
  await page.locator('.frame[data-state=whole] img').nth(1).waitFor();
  await press('取消', 'Cancel');
  await strip('cancelled');
  await page.locator('.mosaic[data-count="2"] img').nth(1).waitFor();
  // The service does not know the task, so the page cannot say that it has stopped.
  gateway.next(GENERATE, stall);
  await generate(view);
  await until(() => gateway.posts().length === 3);
  await press('取消', 'Cancel');
  await page.getByText('Stopped receiving').first().waitFor({ timeout: 15_000 });
  await view.close();
  await server.close();
});

test('a session that ends asks again each time, and for another user it is another page', async () => {
  const server = await startPage();
  const { gateway } = server;
  const view = await openSignedIn(server);
  const { page, strip } = view;
  await generate(view);
  await strip('done');
  await page.locator('.frame img').waitFor();
  const source = await page.locator('.frame img').getAttribute('src');
  const isGone = () => page.evaluate((src) => new Promise((resolve) => Object.assign(new Image(), { onload: () => resolve(false), onerror: () => resolve(true), src })), source);
  assert.equal(await isGone(), false);
  for (let time = 0; time < 2; time++) {
    gateway.next(GENERATE, (_, response) => sendProblem(response, 'token_expired', 401));
    await generate(view);
    await page.locator('dialog.again[open]').waitFor();
    if (!time) await page.keyboard.press('Escape');
  }
  const sent = gateway.posts().length;
  await signIn(view, 'other@example.com');
  await page.locator('.menu-email', { hasText: 'other@' }).waitFor({ state: 'attached' });
  await page.locator('.strip[data-state=ready]').waitFor();
  await sleep(500);
  assert.equal(gateway.posts().length, sent, 'the request of the first user is not sent');
  assert.equal(await page.locator('#prompt').inputValue(), '');
  // Photos that are not ready when the user signs out are not sent, and are in no form afterwards.
  await page.route('**/photos-worker.js', async (route) => {
    await sleep(3000);
    await route.fallback();
  }, { times: 1 });
  await page.locator('.field:not([hidden]) > .tray input[type=file]').setInputFiles({ name: 'a.png', mimeType: 'image/png', buffer: makeLandscape('a', 60, 60) });
  await page.locator('#prompt').fill('x');
  await page.locator('#prompt').press('Control+Enter');
  await page.locator('.menu summary').click();
  await view.press('退出登录', 'Sign out');
  await signIn(view, 'third@example.com');
  await page.locator('.composer').waitFor();
  await sleep(4000);
  assert.equal(gateway.posts().length, sent);
  assert.equal(await page.locator('.slot.photo').count(), 0);
  assert.equal(await isGone(), true, 'its pictures are gone');
  // A sign-in service that does not answer holds no tab for ever.
  await page.route('**/auth/v1/token*', () => {}, { times: 1 });
  await page.reload();
  await page.locator('.front').waitFor({ timeout: 15_000 });
  await view.close();
  await server.close();
});

test('pictures that were paid and lost are made anew under another key', async () => {
  const server = await startPage({ keepPictures: false });
  const { gateway } = server;
  const view = await openSignedIn(server);
  const { page, strip, press } = view;
  const png = makeLandscape(1);
  gateway.next(GENERATE, (request, response) => {
    const id = request.headers['idempotency-key'];
    gateway.tasks.set(id, { id, n: 1, status: 'succeeded', attempts: 1, pictures: [{ ...doneOf(0, png), png }], readers: [] });
    return streamOf([typed('start', { task_id: id }), ...pictureEvents(0, png).slice(0, 2), 200], cut)(request, response);
  });
  await generate(view);
  const lost = page.locator('.failure-title', { hasText: 'The pictures were made but not kept' });
  await lost.waitFor();
  await page.reload();
  await lost.waitFor();
  await press('重试', 'Try again');
  await strip('done');
  const [first, second] = gateway.posts().map(({ headers }) => headers['idempotency-key']);
  assert.notEqual(first, second);
  await view.close();
  await server.close();
});

test('cards stay, links are renewed in the viewer, and what has expired or was erased is not shown', async () => {
  const server = await startPage();
  const { gateway } = server;
  const png = makeLandscape(1);
  const link = `${gateway.url}/pictures/face/0`;
  const day = '2026-11-01T00:00:00.000Z';
  const face = { id: 'face', n: 2, status: 'succeeded', attempts: 1, pictures: [{ ...doneOf(0, png), png }], readers: [] };
  gateway.tasks.set('face', face);
  const item = { status: 'succeeded', attempts: 1, created: day, updated: day, route: '/api/v1/faceflip/generate/stream' };
  const logged = [
    { ...item, task_id: 'face', images: 2, urls: [link, `${link}?ark`], pictures: [{ ...doneOf(0, png), url: link, url_expires: day, expires: '2027-01-01T00:00:00Z' }] },
    { ...item, task_id: 'old', images: 1, pictures: [{ ...doneOf(0, png), expires: day }] },
  ];
  gateway.next('GET /api/generations', (_, response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ items: logged, next: null }));
  });
  const view = await openSignedIn(server);
  const { page, strip, press } = view;
  await page.locator('.mosaic[data-count="2"] img').nth(1).waitFor();
  await page.getByText('expired or were erased').waitFor();
  await page.locator('.mosaic-open').first().click();
  await press('删除保存的图片', 'Erase the kept pictures');
  await press('再按一次，永久删除', 'Press again to erase permanently');
  await page.getByText('expired or were erased').nth(1).waitFor();
  assert.equal(await page.locator('.mosaic img').count(), 0, 'also what ARK has');
  gateway.tasks.delete('face');

  await generate(view);
  await strip('done');
  await page.reload();
  await page.locator('.mosaic img').waitFor();
  await page.locator('.card').filter({ has: page.locator('.mosaic img') }).evaluate((card) => (card.id = 'first'));
  await generate(view);
  await strip('running');
  await strip('done');
  await page.locator('.card:not(#first) .mosaic img').waitFor();
  await sleep(300);
  assert.equal(await page.locator('#first').count(), 1, 'a card whose links alone have changed stays');
  const asked = () => gateway.requests.filter(({ method, path }) => method === 'GET' && /^\/api\/generations\/./.test(path)).length;
  const before = asked();
  await page.route('**/pictures/**', (route) => route.fulfill({ status: 403 }), { times: 1 });
  await page.locator('#first .mosaic-open').click();
  await until(async () => (await widths(page, '.viewer-picture img'))[0] > 0);
  assert.equal(asked(), before + 1, 'the log is asked once');
  await view.close();
  await server.close();
});

test('the log is slow, empty or down', async () => {
  const server = await startPage();
  const view = await browser.open(server.url, { language: 'zh' });
  const { page, check, checkShifts, press } = view;
  let answer;
  server.gateway.next('GET /api/generations', (_request, response) => (answer = response));
  await page.locator('#email').fill('someone@example.com');
  await page.locator('#password').fill('demo');
  await press('登录', 'Sign in');
  await page.locator('.skeleton').first().waitFor();
  await check('loading');
  answer.writeHead(503, { 'content-type': 'application/problem+json' }).end('{"code":"limiter_unavailable","error":"x"}');
  await page.getByText('历史暂时无法读取').waitFor();
  await checkShifts('a failed history');
  await check('history-failed');
  await page.locator('.history').getByRole('button', { name: '重试' }).click();
  await page.getByText('还没有作品').waitFor();
  await view.close();
  await server.close();
});

test('the page works with the keyboard alone, and without motion', async () => {
  const { url } = await stackWith({});
  const view = await browser.open(url, { language: 'en', calm: true });
  const { page, strip } = view;
  await page.locator('.composer').waitFor();
  const status = [];
  await page.exposeFunction('written', (text) => status.push(text));
  await page.evaluate(() => new MutationObserver(() => globalThis.written(document.querySelector('[role=status]').textContent)).observe(document.querySelector('[role=status]'), { childList: true, characterData: true, subtree: true }));
  await page.locator('#prompt').focus();
  await page.keyboard.type('A lake');
  await page.keyboard.press('Control+Enter');
  await strip('running');
  assert.equal(await page.evaluate(() => document.getAnimations().length), 0);
  assert.equal(await page.locator('[aria-current=step]').count(), 1);
  await strip('done');
  assert.ok(status.length >= 3 && status.length <= 8, `a screen reader hears ${JSON.stringify(status)}`);
  await page.getByRole('button', { name: 'Lights off' }).press('Enter');
  assert.equal(await page.locator('html').getAttribute('data-theme'), 'dark');
  await page.locator('.frame .plate').focus();
  await page.keyboard.press('Enter');
  await page.locator('.viewer[open]').waitFor();
  await page.keyboard.press('Escape');
  assert.ok(await page.locator('.frame .plate').evaluate((plate) => plate === document.activeElement), 'the focus returns');
  for (const selector of ['button', 'summary', '.option', 'select', 'a']) {
    for (const box of await page.locator(`${selector}:visible`).evaluateAll((all) => all.map((one) => one.getBoundingClientRect().toJSON()))) {
      assert.ok(Math.min(box.width, box.height) >= 24, `${selector} of ${box.width} × ${box.height}`);
    }
  }
  await page.reload();
  await page.locator('.composer').waitFor();
  assert.equal(await page.locator('html').getAttribute('data-theme'), 'dark', 'the theme is kept');
  await view.close();
});

let failed = 0;
const began = Date.now();
const waiting = tests.filter(({ name }) => name.includes(only));
/** Two tests at a time: a test waits for the upstream most of its time. */
async function runAll() {
  for (let next = waiting.shift(); next; next = waiting.shift()) {
    const { name, run } = next;
    const from = Date.now();
    try {
      await run();
      console.log(`ok ${name} (${((Date.now() - from) / 1000).toFixed(1)} s)`);
    } catch (error) {
      failed++;
      console.error(`FAILED ${name}\n${error.stack}`);
    }
  }
}
await Promise.all([runAll(), runAll()]);
for (const stack of stacks.values()) (await stack).close();
await browser.close();
const { states, screenshots, axeRuns, shifts } = browser.totals;
console.log(`${states} states, ${screenshots} screenshots, ${axeRuns} axe runs, ${shifts} layout shifts, ${((Date.now() - began) / 1000).toFixed(0)} s`);
process.exit(failed ? 1 : 0);
