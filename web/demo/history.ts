// The history: the tasks of the log, with the pictures of this page and the captions of this browser.
import type { GeneratedImage, Generation, GenerationPage, ImageClient } from '../src/index.js';
import { slotsOf } from '../src/settle.js';
import { button, h, icon, label, say, type Icon } from './dom.js';
import { failureWord } from './failures.js';
import { captionOf } from './memory.js';
import type { PictureActions, ShownPicture } from './pictures.js';
import type { Say } from './words.js';

/** A task with its pictures and its caption. */
export interface Sheet {
  item: Generation;
  pictures: ShownPicture[];
  caption: string | undefined;
}

export interface History {
  element: HTMLElement;
  /** Reads the newest tasks. */
  load(): Promise<GenerationPage | undefined>;
  /** Adds a task that is about to be sent. */
  begin(taskId: string, route: string, at: number): void;
  /** Ends it, with its pictures, which the log may not keep. Without a status it was refused, and is removed. */
  end(taskId: string, status: 'succeeded' | 'failed' | undefined, images: GeneratedImage[], code?: string): void;
  /** Every picture, newest first. */
  sheets(): Sheet[];
  forget(taskId: string): void;
  /** Asks the log for new links, at most once a minute. */
  renew(taskId: string): Promise<void>;
  clear(): void;
}

const PAGE = 12;
const POLL_MS = 5000;
const RENEW_MS = 60_000;

export function createHistory(actions: PictureActions & { client(): ImageClient; open(picture: ShownPicture): void }): History {
  let items: Generation[] = [];
  let next: string | null = null;
  let state: 'loading' | 'loaded' | 'failed' = 'loading';
  let loads = 0;
  /** The task that the strip follows. */
  let own: string | undefined;
  let poll: ReturnType<typeof setTimeout> | undefined;
  /** Pictures of this page's own runs. */
  const made = new Map<string, GeneratedImage[]>();
  const renewed = new Map<string, number>();
  const cards = new Map<string, { element: HTMLElement; drawn: string }>();

  const list = h('ul', { class: 'sheet' });
  const empty = h('div', { class: 'sheet-note' }, icon('reference'), h('p', { class: 'sheet-note-title', say: 'historyEmpty' }), h('p', { say: 'historyEmptyLead' }));
  const failed = h('div', { class: 'sheet-note', role: 'alert' }, icon('alert'), h('p', { class: 'sheet-note-title', say: 'historyFailed' }), button('quiet', 'retry', 'retry', () => void history.load()));
  const more = button('quiet', undefined, 'more', () => void loadMore());
  const body = h('div', { class: 'sheet-body' }, list, empty, failed, h('div', { class: 'sheet-more' }, more));
  const element = h(
    'section',
    { class: 'history', 'aria-labelledby': 'history-title' },
    h('header', { class: 'history-head' }, h('h2', { id: 'history-title', say: 'history' }), h('p', { class: 'history-lead', say: 'whatIsKept' })),
    body,
  );

  function picturesOf(item: Generation): ShownPicture[] {
    const own = made.get(item.taskId) ?? [];
    const images = [...slotsOf(item, own).values()].sort((a, b) => a.index - b.index);
    // What this page received itself needs no link.
    return images.map((image) => actions.show(own.find(({ index, blob }) => blob && index === image.index) ?? image));
  }

  function summary({ status, code, images, pictures, urls }: Generation, shown: ShownPicture[]): { text: Say; symbol?: Icon } {
    if (status === 'running') return { text: ['cardRunning'], symbol: 'flask' };
    if (status === 'failed') return { text: [failureWord(code ?? ''), 0], symbol: code === 'cancelled' ? 'stop' : 'alert' };
    if (!shown.length) return { text: pictures ? ['cardErased'] : ['cardNotKept', images], symbol: 'reference' };
    const expires = pictures?.find(({ url }) => url)?.expires;
    if (expires) return { text: ['keptUntil', expires] };
    return { text: urls?.length ? ['linkUntil'] : pictures?.length ? ['cardPictures', shown.length] : ['notKept'] };
  }

  function card(item: Generation): HTMLElement {
    const { taskId, route, created, status } = item;
    const shown = picturesOf(item);
    const caption = captionOf(taskId);
    const { text, symbol } = summary(item, shown);
    const name = h('p', { class: 'card-caption', ...(!caption && { say: /faceflip/.test(route) ? 'routeFaces' : 'routeWords' }) }, caption);
    const face = h('div', { class: 'mosaic', 'data-count': Math.min(shown.length, 4) });
    for (const [position, picture] of shown.slice(0, 4).entries()) {
      const image = h('img', { src: picture.src, alt: '', loading: 'lazy', decoding: 'async' });
      const open = h('button', { type: 'button', class: 'mosaic-open', onclick: () => actions.open(picture) }, image);
      image.addEventListener('error', () => {
        open.replaceChildren(h('span', { class: 'gone', say: 'gone' }));
        void history.renew(taskId);
      });
      if (caption) label(open, 'generated', caption);
      else label(open, 'generatedPlain', position + 1);
      face.append(open);
    }
    if (!shown.length) face.append(h('span', { class: 'mosaic-note' }, icon(symbol ?? 'reference')));
    return h(
      'li',
      { class: 'card', 'data-status': status, ...(status === 'failed' && { 'data-code': item.code }) },
      face,
      h('div', { class: 'card-text' }, name, h('p', { class: 'card-facts' }, h('time', { datetime: created, say: ['at', created] }), h('span', { say: text }))),
    );
  }

  function render(): void {
    const elements = items.map((item) => {
      // Links are signed anew in every answer.
      const drawn = JSON.stringify([item, made.has(item.taskId)]).replace(/"url(Expires)?":"[^"]*"/g, '"url"');
      const known = cards.get(item.taskId);
      if (known?.drawn === drawn) return known.element;
      const fresh = { element: card(item), drawn };
      cards.set(item.taskId, fresh);
      return fresh.element;
    });
    const isLoading = state === 'loading' && !items.length;
    if (isLoading) for (let i = 0; i < 4; i++) elements.push(h('li', { class: 'card skeleton', 'aria-hidden': 'true' }, h('div', { class: 'mosaic' }), h('div', { class: 'card-text' }, h('p', { class: 'card-caption' }), h('p', { class: 'card-facts' }))));
    // Only what has changed moves: an element that stays keeps its focus.
    elements.forEach((element, position) => {
      if (list.children[position] !== element) list.insertBefore(element, list.children[position] ?? null);
    });
    while (list.children.length > elements.length) list.lastElementChild!.remove();
    body.setAttribute('aria-busy', `${state === 'loading'}`);
    list.hidden = !elements.length;
    empty.hidden = state !== 'loaded' || !!elements.length;
    failed.hidden = state !== 'failed';
    more.hidden = !next || state === 'failed';
    clearTimeout(poll);
    if (items.some(({ status, taskId }) => status === 'running' && taskId !== own)) poll = setTimeout(follow, POLL_MS);
  }

  /** Asks for the tasks that run elsewhere: in another tab, on another device. */
  async function follow(): Promise<void> {
    if (document.visibilityState === 'visible') {
      const running = items.filter(({ status, taskId }) => status === 'running' && taskId !== own);
      for (const { taskId } of running) {
        const fresh = await actions.client().generation(taskId).catch(() => undefined);
        if (fresh) items = items.map((item) => (item.taskId === taskId ? fresh : item));
      }
    }
    render();
  }

  async function loadMore(): Promise<void> {
    const mine = loads;
    const page = await actions.client().generations({ limit: PAGE, cursor: next! }).catch(() => undefined);
    if (mine !== loads || !page) return;
    next = page.next;
    items = merge(items, page.items);
    render();
  }

  const history: History = {
    element,
    async load() {
      const mine = ++loads;
      state = items.length ? state : 'loading';
      if (state === 'loading') render();
      try {
        const page = await actions.client().generations({ limit: PAGE });
        if (mine !== loads) return undefined;
        const isFirst = !items.length;
        // The task that was just sent may not be listed yet.
        items = merge(merge(items.filter(({ taskId }) => taskId === own && !page.items.some((item) => item.taskId === own)), page.items), items);
        if (isFirst) next = page.next;
        state = 'loaded';
        render();
        return page;
      } catch {
        if (mine === loads && !items.length) {
          state = 'failed';
          render();
        }
        return undefined;
      }
    },
    begin(taskId, route, at) {
      own = taskId;
      const time = new Date(at).toISOString();
      const known = items.find((item) => item.taskId === taskId);
      const fresh = { ...known, taskId, route, status: 'running' as const, attempts: 1, images: 0, created: known?.created ?? time, updated: time };
      delete fresh.code;
      items = known ? items.map((item) => (item === known ? fresh : item)) : [fresh, ...items];
      render();
    },
    end(taskId, status, images, code) {
      own = undefined;
      if (images.length) made.set(taskId, images);
      const known = items.find((item) => item.taskId === taskId);
      if (known && status) items = items.map((item) => (item === known ? { ...item, status, images: images.length, ...(code && { code }) } : item));
      else if (known?.updated === known?.created) items = items.filter((item) => item !== known);
      render();
    },
    sheets: () => items.map((item) => ({ item, pictures: picturesOf(item), caption: captionOf(item.taskId) })),
    forget(taskId) {
      actions.release(made.get(taskId) ?? []);
      made.delete(taskId);
      items = items.map((item) => (item.taskId === taskId ? { ...item, pictures: [], urls: [] } : item));
      render();
    },
    async renew(taskId) {
      // Links live for an hour; the picture lives longer.
      if (!items.find((item) => item.taskId === taskId)?.pictures?.length) return;
      if (Date.now() - (renewed.get(taskId) ?? 0) < RENEW_MS) return;
      renewed.set(taskId, Date.now());
      const fresh = await actions.client().generation(taskId).catch(() => undefined);
      if (!fresh) return;
      cards.delete(taskId);
      items = items.map((item) => (item.taskId === taskId ? fresh : item));
      render();
    },
    clear() {
      loads++;
      items = [];
      made.clear();
      cards.clear();
      next = null;
      state = 'loading';
      render();
    },
  };
  say(more.firstElementChild!, 'more');
  render();
  return history;
}

/** `first`, then those of `rest` that are not in it. */
function merge(first: Generation[], rest: Generation[]): Generation[] {
  const known = new Set(first.map(({ taskId }) => taskId));
  return [...first, ...rest.filter(({ taskId }) => !known.has(taskId))];
}
