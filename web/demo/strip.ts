// The current run, as a strip of film: stages, actions, and a frame for each picture.
import { ImageStreamError, type GeneratedImage, type ImageClient, type ImageEvent, type ImageResult, type ImageRun } from '../src/index.js';
import { announce, button, h, hush, icon, say } from './dom.js';
import { failureWord, isPermanent } from './failures.js';
import { createFrame, type Frame } from './frame.js';
import type { PageRequest } from './memory.js';
import type { PictureActions, ShownPicture } from './pictures.js';
import { createTimeline, type Stage } from './timeline.js';
import { t, type Say, type Word } from './words.js';

export interface Strip {
  element: HTMLElement;
  /** The request in the frames, if there is one. */
  request(): PageRequest | undefined;
  pictures(): ShownPicture[];
  isRunning(): boolean;
  /** Sends the request, or without `isNew` follows one that was sent before a reload. */
  start(request: PageRequest, isNew: boolean): Promise<void>;
  /** Shows a request that failed before a reload. */
  showFailure(request: PageRequest, code: string): void;
  cancel(): void;
  /** Shows the examples. A run is not followed any longer. */
  reset(): void;
  /** Disables the retry for as many more seconds; 0 enables it. */
  hold(seconds: number): void;
}

export interface StripActions extends PictureActions {
  client(): ImageClient;
  run(request: PageRequest): ImageRun;
  open(picture: ShownPicture): void;
  retry(request: PageRequest): void;
  again(request: PageRequest): void;
  edit(request: PageRequest): void;
  example(prompt: string): void;
  /** A run begins or ends. */
  onState(isRunning: boolean): void;
  onDone(request: PageRequest, result: ImageResult): void;
  onFailure(request: PageRequest, error: ImageStreamError): void;
}

const USUAL_MS = 30_000;
const EXAMPLES = ['example1', 'example2', 'example3'] as const;

export function createStrip(actions: StripActions): Strip {
  let request: PageRequest | undefined;
  let run: ImageRun | undefined;
  let frames: Frame[] = [];
  let usualTimer: ReturnType<typeof setTimeout> | undefined;
  let titleTimer: ReturnType<typeof setInterval> | undefined;
  let cancelling: Promise<void> | undefined;
  let held = 0;

  const timeline = createTimeline();
  const title = h('h2', { id: 'strip-title', say: 'stateReady' });
  const list = h('ul', { class: 'frames' });
  const message = h('p', { class: 'message' });
  const alert = h('div', { class: 'failure', role: 'alert' });
  const text = h('details', { class: 'model-text', hidden: true }, h('summary', { say: 'modelSays' }), h('p'));
  const stop = button('quiet', 'stop', 'cancel', () => strip.cancel());
  const retry = button('primary', 'retry', 'retry', () => request && !held && actions.retry(request));
  const again = button('quiet', 'retry', 'again', () => request && !held && actions.again(request));
  const edit = button('quiet', 'edit', 'edit', () => request && actions.edit(request));
  const marks = h('div', { class: 'edge-marks', 'aria-hidden': 'true' });
  const hero = h(
    'div',
    { class: 'hero' },
    h('p', { class: 'hero-title', say: 'readyTitle' }),
    h('p', { class: 'hero-lead', say: 'readyLead' }),
    h('ul', { class: 'examples', label: 'tryOne' }, ...EXAMPLES.map((name) => h('li', {}, h('button', { type: 'button', class: 'example', say: name, onclick: () => actions.example(t(name)) })))),
  );
  const film = h('div', { class: 'film' }, marks, h('div', { class: 'gate' }, list, hero, alert));
  const element = h(
    'section',
    { class: 'strip', 'aria-labelledby': 'strip-title', 'data-state': 'ready' },
    h('header', { class: 'strip-head' }, title, timeline.clock),
    timeline.steps,
    h('div', { class: 'strip-bar' }, message, h('div', { class: 'strip-actions' }, stop, retry, again, edit)),
    film,
    text,
  );

  /** Shows a change of stage, and writes it for screen readers. */
  function tell(...words: Say): void {
    say(message, ...words);
    announce(...words);
  }

  function setState(state: 'ready' | 'running' | 'done' | 'failed' | 'cancelled', name: Word): void {
    element.dataset.state = state;
    say(title, name);
    const isRunning = state === 'running';
    stop.hidden = !isRunning;
    hero.hidden = state !== 'ready';
    list.hidden = state === 'ready';
    alert.hidden = true;
    for (const other of [retry, again, edit]) other.hidden = true;
    clearTimeout(usualTimer);
    clearInterval(titleTimer);
    document.title = t('name');
    if (!isRunning) return;
    usualTimer = setTimeout(() => say(message, 'sayUsual'), USUAL_MS);
    titleTimer = setInterval(() => (document.title = `${timeline.clock.firstElementChild!.textContent} s · ${t('name')}`), 1000);
  }

  /** New frames, in the size that the request asks for. */
  function load(next: PageRequest): void {
    request = next;
    frames = Array.from({ length: next.n }, (_, index) => createFrame(index, next.prompt, actions, actions.open));
    list.replaceChildren(...frames.map((frame) => frame.element));
    list.dataset.count = `${next.n}`;
    const [width, height] = ratioOf(next);
    film.style.setProperty('--ratio', `${width} / ${height}`);
    film.style.setProperty('--ratio-number', `${width / height}`);
    marks.replaceChildren(...[next.model || 'face swap', next.ratio || 'auto', next.taskId.slice(0, 8)].map((mark) => h('span', {}, mark)));
    hush(message);
    hush(alert);
    text.hidden = false;
    text.dataset.empty = 'true';
    text.open = false;
    text.lastElementChild!.textContent = '';
  }

  /** Slots that were not expected: an upstream may make more pictures than were asked for. */
  function frameAt(index: number): Frame {
    while (frames.length <= index) {
      const frame = createFrame(frames.length, request!.prompt, actions, actions.open);
      frames.push(frame);
      list.append(frame.element);
      list.dataset.count = `${frames.length}`;
    }
    return frames[index]!;
  }

  function reach(stage: Stage, ...words: Say): void {
    timeline.reach(stage);
    tell(...words);
  }

  let receiving = -1;
  function receive(index: number): void {
    if (receiving === index) return;
    receiving = index;
    reach(3, 'sayReceiving', index + 1, frames.length);
  }

  function apply(event: ImageEvent): void {
    switch (event.type) {
      case 'connecting':
        return reach(0, 'sayConnecting');
      case 'retry':
        return tell('sayRetry', Math.ceil(event.delayMs / 1000), event.attempt);
      case 'resumed':
        say(title, 'stateFollowing');
        return tell(event.error ? 'sayResumed' : 'sayReloaded');
      case 'start':
        return reach(1, 'sayAccepted');
      case 'process':
        if (receiving < 0) timeline.reach(2);
        return event.elapsedMs || receiving >= 0 ? undefined : tell('sayMaking');
      case 'text':
        text.dataset.empty = 'false';
        text.lastElementChild!.append(event.text);
        return;
      case 'image-start':
        return receive(event.index);
      case 'progress':
        return frameAt(event.index).receive(event.receivedBytes);
      case 'preview':
        return frameAt(event.index).preview(event.blob);
      case 'image':
        receive(event.index);
        return frameAt(event.index).finish(event.image);
      case 'done': {
        const { images, failed } = event.result;
        for (const image of images) frameAt(image.index).finish(image);
        for (const { index, code } of failed) frameAt(index).fail(code);
        settle(images);
      }
    }
  }

  /** Blanks every frame without a whole picture. */
  function settle(images: readonly GeneratedImage[]): void {
    frames.forEach((frame, index) => {
      if (!images.some((image) => image.index === index) && frame.element.dataset.state !== 'failed') frame.blank();
    });
  }

  /** @param seconds how long it ran; undefined after a reload */
  function fail(error: ImageStreamError, seconds?: number): void {
    const word = failureWord(error.code, error.paid);
    for (const image of error.images) frameAt(image.index).finish(image);
    settle(error.images);
    setState('failed', 'stateFailed');
    announce('sayFailed', t(word, 0));
    if (seconds === undefined) say(message, 'sayLast');
    else say(message, 'sayEnded', seconds);
    alert.hidden = false;
    const facts = [
      ['errorCode', error.code],
      ['requestId', error.requestId],
      ['taskId', error.taskId],
    ] as const;
    alert.replaceChildren(
      icon('alert'),
      h('p', { class: 'failure-title', say: [word, 0] }),
      h('p', { class: 'failure-help', say: [word, 1] }),
      h('details', {}, h('summary', { say: 'details' }), h('dl', {}, ...facts.flatMap(([name, value]) => (value ? [h('dt', { say: name }), h('dd', {}, value)] : [])))),
    );
    alert.dataset.over = `${!error.images.length}`;
    retry.hidden = isPermanent(error);
    edit.hidden = false;
  }

  const strip: Strip = {
    element,
    request: () => request,
    pictures: () => frames.flatMap(({ picture }) => picture ?? []),
    isRunning: () => !!run,
    async start(next, isNew) {
      load(next);
      setState('running', 'stateRunning');
      receiving = -1;
      timeline.start(isNew ? Date.now() : next.at, isNew ? 0 : 2);
      if (!isNew) tell('sayReloaded');
      const mine = isNew ? actions.run(next) : actions.client().resume(next.taskId);
      run = mine;
      actions.onState(true);
      try {
        for await (const event of mine) {
          if (run !== mine) return; // Another user has signed in.
          apply(event);
        }
        const result = await mine.result();
        timeline.reach(4);
        const seconds = timeline.stop(false) / 1000;
        setState('done', 'stateDone');
        again.hidden = false;
        document.title = `✓ ${t('name')}`;
        if (result.failed.length) tell('sayPartly', result.images.length, result.failed.length, seconds);
        else tell('sayDone', result.images.length, seconds);
        run = undefined;
        actions.onDone(next, result);
      } catch (cause) {
        if (!(cause instanceof ImageStreamError)) throw cause;
        if (run !== mine) return;
        const seconds = timeline.stop(true) / 1000;
        run = undefined;
        if (cause.code === 'aborted' || cause.code === 'cancelled') void stopped(next, cause);
        else {
          fail(cause, seconds);
          actions.onFailure(next, cause);
        }
      } finally {
        if (run === mine) run = undefined;
        if (!run) actions.onState(false);
      }
    },
    showFailure(next, code) {
      load(next);
      timeline.reset();
      fail(Object.assign(new ImageStreamError(code, code), { taskId: next.taskId }));
    },
    cancel() {
      if (!run) return;
      tell('sayCancelling');
      stop.hidden = true;
      cancelling = run.cancel();
    },
    reset() {
      run = undefined;
      request = undefined;
      frames = [];
      list.replaceChildren();
      timeline.reset();
      hush(message);
      text.hidden = true;
      setState('ready', 'stateReady');
    },
    hold(seconds) {
      held = seconds;
      for (const other of [retry, again]) other.setAttribute('aria-disabled', `${seconds > 0}`);
      if (seconds) say(retry.lastElementChild!, 'retryIn', seconds);
      else say(retry.lastElementChild!, 'retry');
    },
  };

  /** After a cancel whole pictures stay. The log has whether the service has stopped too. */
  async function stopped(cancelled: PageRequest, { images }: ImageStreamError): Promise<void> {
    for (const image of images) frameAt(image.index).finish(image);
    settle(images);
    setState('cancelled', 'stateCancelled');
    again.hidden = edit.hidden = false;
    tell('sayCancelling');
    await cancelling;
    const item = await actions.client().generation(cancelled.taskId).catch(() => undefined);
    if (request !== cancelled || element.dataset.state !== 'cancelled') return;
    tell(item?.cancelling || item?.status === 'failed' ? 'sayCancelled' : 'sayStopped');
    actions.onFailure(cancelled, Object.assign(new ImageStreamError('cancelled', ''), { images }));
  }

  strip.reset();
  return strip;
}

/** The shape of the frames: as asked for, else that of the first photo, else a square. */
function ratioOf({ mode, ratio, photos }: PageRequest): [number, number] {
  const [width, height] = ratio.split(':').map(Number);
  if (width && height) return [width, height];
  const photo = photos.find((photo) => 'blob' in photo);
  if (photo && 'blob' in photo) return [photo.width, photo.height];
  return mode === 'faces' ? [3, 2] : [1, 1];
}
