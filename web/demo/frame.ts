// One place of the strip: empty, arriving, whole or failed. Its size is known before anything arrives.
import type { GeneratedImage } from '../src/index.js';
import { h, iconButton, label, say } from './dom.js';
import { failureWord } from './failures.js';
import { canCopy, type PictureActions, type ShownPicture } from './pictures.js';

export interface Frame {
  element: HTMLLIElement;
  /** The whole picture, if there is one. */
  picture: ShownPicture | undefined;
  receive(bytes: number): void;
  preview(blob: Blob): void;
  finish(image: GeneratedImage): void;
  fail(code: string): void;
  /** No picture arrived. A preview is removed. */
  blank(): void;
}

export function createFrame(index: number, caption: string, actions: PictureActions, onOpen: (picture: ShownPicture) => void): Frame {
  const note = h('p', { class: 'frame-note' });
  const open = h('button', { type: 'button', class: 'plate', label: ['frameWaiting', index + 1], 'aria-disabled': 'true' }, note);
  const bytes = h('span', { class: 'frame-bytes' });
  const act = (work: (picture: ShownPicture) => unknown) => () => void (frame.picture && work(frame.picture));
  const tools = h(
    'span',
    { class: 'frame-tools' },
    iconButton('download', 'download', act(actions.download)),
    canCopy() && iconButton('copy', 'copy', act(actions.copy)),
    iconButton('reference', 'useAsReference', act(actions.useAsReference)),
  );
  const element = h('li', { class: 'frame', 'data-state': 'waiting' }, open, h('div', { class: 'frame-bar' }, h('span', { class: 'frame-number', 'aria-hidden': 'true' }, `▸ ${index + 1}`), bytes, tools));
  open.addEventListener('click', act(onOpen));

  let wanted = 0;
  /** Shows `src` once the browser has it, so that nothing flickers; a later call wins. */
  async function show(src: string, isWhole: boolean): Promise<void> {
    const mine = ++wanted;
    const next = h('img', { src, alt: '' });
    const isGood = await new Promise<boolean>((resolve) => {
      next.onload = () => resolve(true);
      next.onerror = () => resolve(false);
    });
    if (!isWhole) URL.revokeObjectURL(src);
    if (mine !== wanted) return;
    if (isGood) {
      // The rows that a preview does not have yet show the draft below it.
      for (const old of open.querySelectorAll('img')) if (isWhole || old.hasAttribute('data-preview')) old.remove();
      next.toggleAttribute('data-preview', !isWhole);
      note.before(next);
    } else if (isWhole) {
      say(note, 'gone');
    }
  }

  function set(state: 'receiving' | 'whole' | 'draft' | 'failed' | 'blank'): void {
    element.dataset.state = state;
  }

  const frame: Frame = {
    element,
    picture: undefined,
    receive(count) {
      if (element.dataset.state !== 'draft') set('receiving');
      say(bytes, 'received', count);
    },
    preview: (blob) => void show(URL.createObjectURL(blob), false),
    finish(image) {
      const shown = actions.show(image);
      if (frame.picture?.src !== shown.src) void show(shown.src, true);
      frame.picture = shown;
      set(image.draft ? 'draft' : 'whole');
      if (image.draft) say(note, 'draft');
      else note.textContent = '';
      if (image.bytes) say(bytes, 'received', image.bytes);
      else if (image.width && image.height) say(bytes, 'pixels', image.width, image.height);
      open.removeAttribute('aria-disabled');
      if (caption) label(open, 'generated', caption);
      else label(open, 'generatedPlain', index + 1);
    },
    fail(code) {
      frame.blank();
      set('failed');
      say(note, failureWord(code), 0);
      label(open, failureWord(code), 0);
    },
    blank() {
      wanted++;
      frame.picture = undefined;
      for (const old of open.querySelectorAll('img')) old.remove();
      open.setAttribute('aria-disabled', 'true');
      set('blank');
      bytes.textContent = '';
      say(note, 'blankFrame');
      label(open, 'frame', index + 1);
    },
  };
  return frame;
}
