// The tray of photos: dropped, pasted or picked, and scaled down at once.
import { preparePhotos } from '../src/photos.js';
import type { ImageStreamError } from '../src/index.js';
import { h, hush, icon, iconButton, label, say } from './dom.js';
import type { Photo } from './memory.js';
import { currentLanguage, sizeOf, type Word } from './words.js';

export interface Tray {
  element: HTMLElement;
  photos(): Photo[];
  set(photos: Photo[]): void;
  add(photos: readonly (Blob | string)[]): Promise<void>;
  /** Waits for the photos that are being scaled down. False if one of them cannot be used. */
  settled(): Promise<boolean>;
}

const WORKER = new URL('photos-worker.js', document.baseURI);

/** @param places how many photos fit, and how many places are drawn */
export function createTray(title: Word, isOptional: boolean, places: number): Tray {
  let photos: Photo[] = [];
  let waiting = 0;
  let refused = 0;
  /** Counts the calls of `set`: what was added before has gone with it. */
  let round = 0;
  let adding: Promise<unknown> = Promise.resolve();
  const input = h('input', { type: 'file', accept: 'image/*', multiple: true, class: 'unseen', label: 'addPhoto' });
  const list = h('ul', { class: 'tray', 'data-places': places });
  const count = h('span', { class: 'count' });
  const problem = h('p', { class: 'field-problem', role: 'alert' });
  const element = h(
    'fieldset',
    { class: 'field' },
    h('legend', { class: 'field-head' }, h('span', { say: title }), isOptional && h('small', { say: 'optional' }), count),
    list,
    problem,
  );

  function thumbnail(photo: Photo, position: number): HTMLElement {
    const source = 'url' in photo ? photo.url : URL.createObjectURL(photo.blob);
    const image = h('img', { src: source, alternative: ['photoAlt', position + 1] });
    if (!('url' in photo)) image.addEventListener('load', () => URL.revokeObjectURL(source));
    const size = h('span', { class: 'size', say: 'url' in photo ? 'linkPhoto' : ['shrunk', ...shortSizes(photo.before, photo.blob.size)] });
    const remove = iconButton('close', ['removePhoto', position + 1], () => {
      photos = photos.filter((other) => other !== photo);
      render();
      (list.querySelectorAll<HTMLElement>('.icon-button')[position] ?? input).focus();
    });
    return h('li', { class: 'slot photo' }, h('span', { class: 'print' }, image), size, remove);
  }

  function render(): void {
    const isFull = photos.length + waiting >= places;
    const items = photos.map(thumbnail);
    for (let i = 0; i < waiting; i++) items.push(h('li', { class: 'slot busy' }, h('span', { class: 'print' }), h('span', { class: 'size', say: 'preparing' })));
    if (!isFull) {
      const add = h('label', { class: 'add' }, input, icon('plus'), h('span', { say: photos.length ? 'addPhoto' : 'dropHint' }));
      items.push(h('li', { class: 'slot' }, add));
    }
    // As many places as one row has, so that the tray does not grow.
    for (let i = items.length; i < Math.min(places, 3); i++) items.push(h('li', { class: 'slot empty', 'aria-hidden': 'true' }));
    list.replaceChildren(...items);
    list.dataset.full = `${isFull}`;
    say(count, isFull ? 'trayFull' : 'photosOf', photos.length, places);
    label(input, 'addPhoto');
  }

  async function add(files: readonly (Blob | string)[]): Promise<void> {
    hush(problem);
    const free = places - photos.length - waiting;
    const wanted = files.slice(0, Math.max(0, free));
    if (files.length > wanted.length) say(problem, 'tooManyPhotos', places);
    waiting += wanted.length;
    const mine = round;
    render();
    for (const file of wanted) {
      let photo: Photo | undefined;
      if (typeof file === 'string') photo = { url: file };
      else if (file.type && !file.type.startsWith('image/')) say(problem, 'notAPhoto', file instanceof File ? file.name : file.type);
      else photo = await prepare(file);
      if (mine !== round) return;
      waiting--;
      if (photo) photos = [...photos, photo];
      else refused++;
      render();
    }
  }

  async function prepare(file: Blob): Promise<Photo | undefined> {
    try {
      const [prepared] = await preparePhotos([file], { language: currentLanguage(), workerUrl: WORKER });
      const { blob, width, height, originalBytes } = prepared!;
      return { blob, width, height, before: originalBytes };
    } catch (error) {
      problem.removeAttribute('data-say');
      problem.textContent = (error as ImageStreamError).message; // HEIC has its own sentence, in this language.
      return undefined;
    }
  }

  input.addEventListener('change', () => {
    const files = [...(input.files ?? [])];
    input.value = '';
    void tray.add(files);
  });
  render();
  const tray: Tray = {
    element,
    add(files) {
      const mine = add(files);
      adding = Promise.all([adding, mine]);
      return mine;
    },
    async settled() {
      const before = refused;
      for (let last; last !== adding; await last) last = adding;
      return refused === before;
    },
    photos: () => photos,
    set(next) {
      round++;
      waiting = 0;
      photos = next;
      hush(problem);
      render();
    },
  };
  return tray;
}

/** Two sizes in a small space: their unit stands once. */
function shortSizes(before: number, after: number): [string, string] {
  if (before < 1e6) return [`${Math.round(before / 1e3)}`, sizeOf(Math.max(after, 1000))];
  return [(before / 1e6).toFixed(1), `${(after / 1e6).toFixed(after < 1e6 ? 2 : 1)} MB`];
}
