// Puts the page together: settings, session, the form, the strip and the history.
import { createImageClient, type GeneratedImage, type ImageClient, type ImageRun, type ImageStreamError } from '../src/index.js';
import { createBench, type Bench } from './bench.js';
import { createComposer } from './composer.js';
import { loadConfig, type Config } from './config.js';
import { button, h, icon, isComposing } from './dom.js';
import { needsNewKey } from './failures.js';
import { receiveFiles } from './files.js';
import { createHeader } from './header.js';
import { createHistory } from './history.js';
import { createLimits } from './limits.js';
import * as memory from './memory.js';
import type { PageRequest } from './memory.js';
import { createPictureActions, isSame } from './pictures.js';
import { createSession } from './session.js';
import { createSignIn } from './sign-in.js';
import { createStrip } from './strip.js';
import { createViewer, type ViewedPicture } from './viewer.js';
import { currentLanguage, type Language } from './words.js';

const root = document.querySelector('#app')!;
const narrow = matchMedia('(max-width: 61.99rem)');
const calm = matchMedia('(prefers-reduced-motion: reduce)');
/** A longer wait is in the sentence of its failure only. */
const LONGEST_HOLD_MS = 600_000;

/** 128 random bits. `crypto.randomUUID` is missing on a page without TLS. */
const newTaskId = (): string => crypto.getRandomValues(new Uint32Array(4)).join('-');

async function main(): Promise<void> {
  const tools = h('div', { class: 'account' });
  const stage = h('main', { class: 'stage', 'aria-busy': 'true' });
  root.replaceChildren(createHeader(tools), stage);
  let config: Config;
  try {
    config = await loadConfig();
  } catch {
    stage.replaceChildren(h('p', { class: 'page-problem', role: 'alert', say: 'brokenConfig' }));
    return;
  }
  startPage(config, tools, stage);
}

function startPage(config: Config, tools: HTMLElement, stage: HTMLElement): void {
  const session = createSession(config, () => askAgain());
  let cached: { language: Language; client: ImageClient } | undefined;
  let bench: Bench | undefined;
  /** The request that waits for a new sign-in. */
  let waiting: PageRequest | undefined;

  /** Adds the fault that the bench has chosen to a POST. */
  const sendWithFault: typeof fetch = (input, init) => {
    const fault = init?.method === 'POST' && bench?.fault();
    return fetch(input, fault ? { ...init, headers: { ...(init.headers as object), 'x-dev-fault': fault } } : init);
  };

  function client(): ImageClient {
    const language = currentLanguage();
    if (cached?.language !== language) {
      const options = { url: config.api ?? '', token: session.token, language, retry: { maxRetryAfterMs: 2000 } };
      cached = { language, client: createImageClient({ ...options, ...(config.local && { fetch: sendWithFault }) }) };
    }
    return cached!.client;
  }

  const pictures = createPictureActions(config, client, (photo) => composer.addPhotos([photo]));
  const actions = {
    ...pictures,
    client,
    open: (picture: Parameters<typeof viewer.open>[1]): void => viewer.open(viewed(), picture),
  };

  const viewer = createViewer(
    pictures,
    async (taskId) => {
      await client().erasePictures(taskId);
      if (strip.request()?.taskId === taskId) strip.reset();
      history.forget(taskId);
    },
    async (picture) => {
      await history.renew(picture.image.taskId);
      return viewed().find((other) => isSame(other.picture, picture));
    },
  );

  const limits = createLimits(client);
  const composer = createComposer(config, limits.element, (draft) => void send({ ...draft, taskId: newTaskId(), at: Date.now() }));
  const history = createHistory(actions);
  const strip = createStrip({
    ...actions,
    run({ mode, prompt, n, ratio, model, photos, taskId }): ImageRun {
      const images = photos.map((photo) => ('url' in photo ? photo.url : photo.blob));
      if (mode === 'faces') return client().faceflip({ urls: images, taskId, ...(prompt && { prompt }) });
      const chosen = bench ? bench.model(model) : model;
      return client().generate({ prompt, n, images, ...(ratio && { aspectRatio: ratio }), ...(chosen && { model: chosen }) }, { taskId });
    },
    retry: (request) => void send(request),
    again: (request) => void send({ ...request, taskId: newTaskId(), at: Date.now() }),
    edit() {
      composer.element.scrollIntoView({ behavior: calm.matches ? 'auto' : 'smooth', block: 'start' });
      composer.focus();
    },
    example: (prompt) => composer.setPrompt(prompt),
    onState: (isRunning) => composer.setState(isRunning ? 'running' : 'ready'),
    onDone({ taskId }, { images }) {
      learn(images);
      history.end(taskId, 'succeeded', images);
      void memory.forgetRequest(taskId);
      void afterRun();
    },
    onFailure(request, error) {
      memory.keepFailure(request.taskId, error.paid ? 'paid' : error.code);
      if (error.retryAfterMs && error.retryAfterMs < LONGEST_HOLD_MS) hold(error);
      // A refusal made no task.
      history.end(request.taskId, error.status ? undefined : 'failed', error.images, error.code);
      if (error.status === 401) {
        waiting = request;
        askAgain();
      }
      void afterRun();
    },
  });

  async function afterRun(): Promise<void> {
    await refresh();
    await bench?.compare(strip.pictures());
  }

  /** Notes whether the service keeps pictures. */
  function learn(images: readonly GeneratedImage[]): void {
    if (images.some(({ urlExpires }) => urlExpires)) memory.setSetting('keepsPictures', true);
  }

  let isSending = false;

  async function send(request: PageRequest): Promise<void> {
    if (isSending || strip.isRunning()) return;
    isSending = true;
    composer.setState('running');
    waiting = undefined;
    const user = shownUser;
    let next = request;
    try {
      if (needsNewKey((await memory.lastRequest(user))?.failure ?? '')) next = { ...request, taskId: newTaskId() };
      await memory.keepRequest(next, user);
    } finally {
      isSending = false;
    }
    // The user has signed out in the meantime.
    if (user !== shownUser) return memory.forgetUser();
    bench?.begin();
    history.begin(next.taskId, next.mode === 'faces' ? '/faceflip' : '/generate', next.at);
    const run = strip.start(next, true);
    showStrip();
    await run;
  }

  function showStrip(): void {
    if (narrow.matches || strip.element.getBoundingClientRect().top < 0) strip.element.scrollIntoView({ behavior: calm.matches ? 'auto' : 'smooth', block: 'start' });
  }

  let holdTimer: ReturnType<typeof setInterval> | undefined;

  /** No retry before the service allows one, and after a 429 no other request either. */
  function hold({ status, retryAfterMs = 0 }: ImageStreamError): void {
    const until = Date.now() + retryAfterMs;
    const tick = (): void => {
      const seconds = Math.max(0, Math.ceil((until - Date.now()) / 1000));
      strip.hold(seconds);
      if (status === 429) composer.hold(seconds);
      if (!seconds) clearInterval(holdTimer);
    };
    clearInterval(holdTimer);
    holdTimer = setInterval(tick, 250);
    tick();
  }

  async function refresh(): Promise<void> {
    const page = await history.load();
    if (!page) return;
    learn(page.items.flatMap((item) => item.pictures ?? []));
    limits.show(page);
  }

  function viewed(): ViewedPicture[] {
    const request = strip.request();
    const logged = history.sheets().flatMap(({ item, pictures, caption }) =>
      pictures.map((picture) => {
        const kept = item.pictures?.find(({ index, url }) => url && index === picture.image.index);
        return { picture, caption, isKept: !!kept, ...(kept?.expires && { expires: kept.expires }) };
      }),
    );
    // The pictures of a run that has not ended are not on the sheet yet.
    const own = strip.pictures().filter((picture) => !logged.some((other) => isSame(other.picture, picture)));
    return [...own.map((picture) => ({ picture, caption: request?.prompt || undefined, isKept: false })), ...logged];
  }

  // Signed in and out
  const email = h('p', { class: 'menu-email' });
  const menu = h(
    'details',
    { class: 'menu' },
    h('summary', { class: 'icon-button', label: 'account', hint: 'account' }, icon('person')),
    h('div', { class: 'menu-body' }, email, button('quiet', undefined, 'signOut', () => void signOut()), h('p', { class: 'menu-note', say: 'signOutNote' })),
  );
  menu.addEventListener('focusout', ({ relatedTarget }) => {
    if (relatedTarget && !menu.contains(relatedTarget as Node)) menu.open = false;
  });
  const signIn = createSignIn(config, session, () => void enter());
  const gate = h('dialog', { class: 'again', label: 'signInAgain' });
  document.body.append(gate);
  const work = h('div', { class: 'work' }, h('div', { class: 'desk' }, composer.element), h('div', { class: 'table' }, strip.element, history.element));
  let shownUser = '';

  /** Takes away what belongs to a user. */
  function clear(): void {
    waiting = undefined;
    strip.reset();
    history.clear();
    pictures.release();
    composer.set({ taskId: '', mode: 'words', prompt: '', n: 1, ratio: '', model: config.models?.[0] ?? '', photos: [], at: 0 });
    composer.setState('ready');
  }

  function leave(): void {
    tools.replaceChildren();
    signIn.show(false);
    clear();
    stage.replaceChildren(h('div', { class: 'front' }, h('div', { class: 'film front-film', 'aria-hidden': 'true' }, h('div', { class: 'edge-marks' }), h('div', { class: 'gate' }, h('div', { class: 'hero' }, h('p', { class: 'hero-title', say: 'readyTitle' }), h('p', { class: 'hero-lead', say: 'readyLead' })))), signIn.element));
    shownUser = '';
  }

  async function enter(): Promise<void> {
    const user = session.user()!;
    memory.setSetting('signedOut', undefined);
    gate.close();
    if (shownUser === user.id) {
      // The session had ended in the middle of the work.
      const request = waiting;
      if (request) void send(request);
      else void refresh();
      return;
    }
    shownUser = user.id;
    email.textContent = user.email;
    tools.replaceChildren(menu);
    bench?.showUser(user.email);
    clear();
    const last = await memory.lastRequest(user.id);
    stage.replaceChildren(work);
    if (last) {
      composer.set(last);
      if (!last.failure) void strip.start(last, false);
      else if (last.failure !== 'cancelled') strip.showFailure(last, last.failure);
      if (last.failure !== 'cancelled') showStrip();
    }
    await refresh();
  }

  /** The session ended while the page was in use. The request goes on after the next sign-in. */
  function askAgain(): void {
    if (gate.open) return;
    signIn.show(true);
    gate.replaceChildren(signIn.element);
    gate.showModal();
  }

  async function signOut(): Promise<void> {
    menu.open = false;
    memory.setSetting('signedOut', true);
    await memory.forgetUser();
    await session.signOut();
    leave();
  }

  async function switchUser(address: string): Promise<void> {
    await memory.forgetUser();
    await session.signOut();
    try {
      await session.signIn(address, config.local!.password);
      memory.setSetting('email', address);
      await enter();
    } catch {
      leave();
    }
  }

  if (config.local) {
    bench = createBench(config.local, session, pictures, switchUser);
    work.firstElementChild!.append(bench.element);
  }

  addEventListener('keydown', (event) => {
    if (event.key !== 'Escape' || isComposing(event) || document.querySelector('dialog[open]')) return;
    if (menu.open) menu.open = false;
    else strip.cancel();
  });
  receiveFiles((files) => composer.addPhotos(files), () => !!shownUser);
  addEventListener('beforeunload', (event) => {
    // Where pictures are kept, a closed tab loses none.
    if (!strip.isRunning() || memory.setting('keepsPictures')) return;
    event.preventDefault();
    event.returnValue = true; // Chrome before 119 looks at nothing else.
  });
  setInterval(() => void memory.forgetOld(), 3600_000);

  void (async () => {
    const { local } = config;
    let isIn = await session.restore();
    // The local stack signs the demo user in, unless the user has signed out in this browser.
    if (!isIn && local && !memory.setting('signedOut')) {
      isIn = await session.signIn(memory.setting('email') ?? local.users[0]!, local.password).then(() => true, () => false);
    }
    stage.removeAttribute('aria-busy');
    if (isIn) await enter();
    else leave();
  })();
}

void main();
