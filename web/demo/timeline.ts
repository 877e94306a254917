// The stages of a run with their seconds, and the clock of the whole.
import { h, label } from './dom.js';

const STAGES = ['stageConnect', 'stageAccept', 'stageMake', 'stageReceive', 'stageDone'] as const;
export type Stage = 0 | 1 | 2 | 3 | 4;

export interface Timeline {
  steps: HTMLElement;
  clock: HTMLElement;
  /**
   * @param since when the run began, in milliseconds since 1970
   * @param stage what it has reached by then
   */
  start(since: number, stage: Stage): void;
  /** Goes on to a stage. It never goes back. */
  reach(stage: Stage): void;
  /** Stops the clock; returns the milliseconds. The last stage stays marked if the run has failed. */
  stop(hasFailed: boolean): number;
  reset(): void;
}

export function createTimeline(): Timeline {
  const items = STAGES.map((name) => ({ seconds: h('span', { class: 'step-seconds' }), name }));
  const elements = items.map(({ seconds, name }) => h('li', { class: 'step' }, h('span', { class: 'step-name', say: name }), seconds));
  const steps = h('ol', { class: 'steps', label: 'stages' }, ...elements);
  const digits = h('span', { class: 'clock-digits' }, '0.0');
  const clock = h('p', { class: 'clock', 'aria-hidden': 'true' }, digits, h('span', { class: 'clock-unit' }, 's'));
  let reached: number[] = [];
  let timer: ReturnType<typeof setInterval> | undefined;

  const inSeconds = (ms: number): string => (Math.max(0, ms) / 1000).toFixed(1);

  function tick(): void {
    const now = Date.now();
    const stage = reached.length - 1;
    digits.textContent = inSeconds(now - reached[0]!);
    if (stage < 4) items[stage]!.seconds.textContent = inSeconds(now - reached[stage]!);
  }

  function mark(state: string): void {
    elements.forEach((element, position) => {
      const isCurrent = position === reached.length - 1;
      element.dataset.state = position < reached.length - 1 ? 'done' : isCurrent ? state : 'ahead';
      if (isCurrent && state === 'current') element.setAttribute('aria-current', 'step');
      else element.removeAttribute('aria-current');
    });
  }

  const timeline: Timeline = {
    steps,
    clock,
    start(since, stage) {
      timeline.reset();
      reached = Array.from({ length: stage + 1 }, () => since);
      clock.dataset.idle = 'false';
      mark('current');
      timer = setInterval(tick, 100);
      tick();
    },
    reach(stage) {
      const now = Date.now();
      while (reached.length <= stage) {
        const last = reached.length - 1;
        items[last]!.seconds.textContent = inSeconds(now - reached[last]!);
        reached.push(now);
      }
      mark('current');
    },
    stop(hasFailed) {
      clearInterval(timer);
      const total = Date.now() - (reached[0] ?? Date.now());
      digits.textContent = inSeconds(total);
      mark(hasFailed ? 'failed' : 'done');
      return total;
    },
    reset() {
      clearInterval(timer);
      reached = [];
      for (const { seconds } of items) seconds.textContent = '';
      for (const element of elements) {
        element.dataset.state = 'ahead';
        element.removeAttribute('aria-current');
      }
      digits.textContent = '0.0';
      clock.dataset.idle = 'true';
    },
  };
  label(steps, 'stages');
  timeline.reset();
  return timeline;
}
