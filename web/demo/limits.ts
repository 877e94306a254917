// The user's limit and credits, as the log has them.
import type { GenerationPage, ImageClient } from '../src/index.js';
import { h, say } from './dom.js';

export interface Limits {
  element: HTMLElement;
  show(page: GenerationPage): void;
}

/** More calls than this are a number only. */
const MAX_PIPS = 10;
const MIN_WAIT_MS = 1000;

export function createLimits(client: () => ImageClient): Limits {
  const rate = h('p', { class: 'rate' });
  const credits = h('p', { class: 'credits' });
  let timer: ReturnType<typeof setTimeout> | undefined;

  /** Asks for the limit when it has grown. */
  async function ask(): Promise<void> {
    if (document.visibilityState !== 'visible') return;
    const page = await client().generations({ limit: 1 }).catch(() => undefined);
    if (page) limits.show(page);
  }

  const limits: Limits = {
    element: h('div', { class: 'limits' }, rate, credits),
    show(page) {
      credits.textContent = '';
      if (page.credits !== undefined) say(credits, 'creditsLeft', page.credits);
      clearTimeout(timer);
      rate.replaceChildren();
      if (!page.rate) return;
      const { limit, remaining, resetMs } = page.rate;
      const pips = Array.from({ length: limit }, (_, index) => h('span', { class: 'pip', 'data-left': `${index < remaining}` }));
      rate.append(...(limit > MAX_PIPS ? [] : [h('span', { class: 'pips', 'aria-hidden': 'true' }, ...pips)]), h('span', { say: ['callsLeft', remaining, limit] }));
      if (remaining < limit && resetMs > 0) timer = setTimeout(() => void ask(), Math.max(resetMs, MIN_WAIT_MS) + 200);
    },
  };
  return limits;
}
