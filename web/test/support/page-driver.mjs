// What the tests of the page share: a browser, one stack for each setting, and the checks of a state.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const WIDTHS = { 360: 780, 768: 1024, 1440: 900 };
const THEMES = ['light', 'dark'];
const AXE_ON = ['360 dark', '1440 light'];

/** Starts the stack with these options and variables. `close` ends it. */
export async function startStack(binary, options = [], variables = {}) {
  const stack = spawn(binary, ['--port', '0', '--quiet', ...options], { env: { PATH: process.env.PATH, ...variables }, stdio: ['ignore', 'pipe', 'inherit'] });
  for await (const line of createInterface({ input: stack.stdout })) {
    const url = /^listening on (\S+)/.exec(line)?.[1];
    if (url) return { url, close: () => stack.kill() };
  }
  throw new Error(`${binary} ended before it listened`);
}

export async function startBrowser(shots) {
  const executablePath = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
  if (!executablePath) throw new Error('no Chromium is installed');
  mkdirSync(shots, { recursive: true });
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking'] });
  let users = 0;
  const totals = { states: 0, screenshots: 0, axeRuns: 0, shifts: 0 };

  /** A page at `url`, in a browser without a past. `check` examines the state that it is in. */
  async function open(url, { language = 'zh', width = 1440, theme = 'light', calm = false, user = `t${++users}` } = {}) {
    const isZh = language === 'zh';
    const context = await browser.newContext({
      locale: isZh ? 'zh-CN' : 'en-US', colorScheme: theme, viewport: { width, height: WIDTHS[width] },
      reducedMotion: calm ? 'reduce' : 'no-preference', permissions: ['clipboard-read', 'clipboard-write'],
    });
    await context.addInitScript((email) => {
      // Each test is another user of the stack.
      if (!localStorage.getItem('darkroom.email')) localStorage.setItem('darkroom.email', JSON.stringify(email));
      globalThis.shifts = [];
      new PerformanceObserver((list) => {
        for (const { value, hadRecentInput, sources } of list.getEntries()) {
          if (!hadRecentInput) globalThis.shifts.push([value, ...sources.map(({ node }) => node?.outerHTML?.slice(0, 80) ?? `${node?.nodeName}`)]);
        }
      }).observe({ type: 'layout-shift', buffered: true });
    }, `demo+${user}@example.com`);
    const page = await context.newPage();
    const failures = [];
    page.on('pageerror', (error) => failures.push(`${error}`));
    page.on('console', (message) => /Content Security Policy/.test(message.text()) && failures.push(message.text()));
    await page.goto(url);

    /** No layout has shifted since the last check, except after an input. */
    async function checkShifts(name) {
      const shifts = await page.evaluate(() => globalThis.shifts.splice(0));
      totals.shifts += shifts.length;
      assert.deepEqual(shifts, [], `${name}: layout shifts`);
    }

    /** Shifts, text and accessibility of a state, and its screenshots in both themes at three widths. */
    async function check(name, { full = true } = {}) {
      await checkShifts(name);
      assert.deepEqual(failures, [], name);
      totals.states++;
      const findings = [];
      for (const [size, height] of Object.entries(WIDTHS)) {
        await page.setViewportSize({ width: +size, height });
        for (const scheme of THEMES) {
          await page.emulateMedia({ colorScheme: scheme });
          if (!full) await page.locator('.strip').first().evaluate((strip) => strip.scrollIntoView({ behavior: 'instant' })).catch(() => {});
          await page.screenshot({ path: `${shots}/${name}-${size}-${scheme}.jpg`, type: 'jpeg', quality: 80, fullPage: full, animations: 'disabled' });
          totals.screenshots++;
          if (scheme === 'light') findings.push(...(await page.evaluate(findProblems, [language, +size])));
          if (!AXE_ON.includes(`${size} ${scheme}`)) continue;
          totals.axeRuns++;
          findings.push(...(await page.evaluate(`${AXE}; axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => violations.flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => id + ' ' + target + ': ' + failureSummary)))`)));
        }
      }
      await page.setViewportSize({ width, height: WIDTHS[width] });
      await page.emulateMedia({ colorScheme: theme });
      await page.waitForTimeout(100);
      // The sizes of the window have moved everything.
      await page.evaluate(() => globalThis.shifts.splice(0));
      assert.deepEqual([...new Set(findings)], [], name);
    }

    const texts = { zh: isZh };
    const say = (zh, en) => (texts.zh ? zh : en);
    const strip = (state) => page.locator(`.strip[data-state=${state}]`).waitFor({ timeout: 60_000 });
    const press = (zh, en, options = {}) => page.getByRole('button', { name: say(zh, en), exact: true, ...options }).click();
    return { page, context, check, checkShifts, say, strip, press, texts, close: () => context.close() };
  }

  return { open, totals, close: () => browser.close() };
}

/** What is cut off, not translated or left blank. Runs in the page. */
function findProblems([language, width]) {
  const problems = [];
  const { scrollWidth } = document.scrollingElement;
  if (scrollWidth > width) {
    const wide = [...document.body.querySelectorAll('*')].filter((element) => element.getBoundingClientRect().right > width);
    problems.push(`the page is ${scrollWidth} px wide at ${width} px: ${wide.map(({ outerHTML }) => outerHTML.slice(0, 60)).join(', ')}`);
  }
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    const text = node.data.trim();
    if (!text || !element.checkVisibility({ visibilityProperty: true })) continue;
    const owner = element.closest('[lang]').lang;
    if (/undefined|null|NaN|\{\d|\[object/.test(text)) problems.push(`broken text: ${text}`);
    const isOwn = !element.closest('.model-text p, .card-caption, .viewer-caption, option, textarea');
    if (isOwn && owner === 'en' && /[\u4e00-\u9fff]/.test(text)) problems.push(`Chinese in English: ${text}`);
    if (isOwn && owner !== 'en' && element.hasAttribute('data-say') && /^[A-Za-z][a-z]+ [a-z]+/.test(text)) problems.push(`English in Chinese: ${text}`);
    const { overflowX, textOverflow } = getComputedStyle(element);
    const isCut = overflowX === 'hidden' && element.scrollWidth > element.clientWidth + 1;
    if (isCut && !element.matches('.card-caption, .edge-marks span, .frame-bytes, .unseen')) problems.push(`cut off (${textOverflow}): ${text}`);
  }
  for (const element of document.querySelectorAll('button, summary')) {
    if (!element.checkVisibility()) continue;
    const inner = [...element.children].find((child) => child.scrollWidth > element.clientWidth + 1);
    if (inner) problems.push(`a button is too narrow for ${inner.textContent}`);
  }
  if (language !== document.documentElement.lang.slice(0, 2)) problems.push(`the page’s language is ${document.documentElement.lang}`);
  return problems;
}
