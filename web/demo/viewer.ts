// One picture, as large as the window, and its actions.
import { ImageStreamError } from '../src/index.js';
import { button, h, hush, iconButton, notify, say } from './dom.js';
import { canCopy, isSame, type PictureActions, type ShownPicture } from './pictures.js';
import { sizeOf } from './words.js';

/** A picture in the viewer, and what is known about it. */
export interface ViewedPicture {
  picture: ShownPicture;
  caption: string | undefined;
  /** RFC 3339, if the service keeps the picture. */
  expires?: string;
  isKept: boolean;
}

export interface Viewer {
  open(all: ViewedPicture[], start: ShownPicture): void;
  isOpen(): boolean;
}

/**
 * @param erase erases the kept pictures of a task
 * @param renew the picture with a new link
 */
export function createViewer(actions: PictureActions, erase: (taskId: string) => Promise<void>, renew: (picture: ShownPicture) => Promise<ViewedPicture | undefined>): Viewer {
  let all: ViewedPicture[] = [];
  let position = 0;
  let canErase = true;
  let isSure = false;

  const image = h('img', { alt: '' });
  const caption = h('p', { class: 'viewer-caption', id: 'viewer-caption' });
  const facts = h('ul', { class: 'viewer-facts' });
  const current = (): ShownPicture => all[position]!.picture;
  const erasing = button('quiet danger', 'trash', 'erase', () => void eraseNow());
  const previous = iconButton('previous', 'previous', () => move(-1), 'viewer-previous');
  const following = iconButton('next', 'next', () => move(1), 'viewer-next');
  const dialog = h(
    'dialog',
    { class: 'viewer', 'aria-labelledby': 'viewer-caption' },
    h('div', { class: 'viewer-picture' }, image, previous, following),
    h(
      'div',
      { class: 'viewer-side' },
      iconButton('close', 'close', () => dialog.close(), 'viewer-close'),
      caption,
      facts,
      h(
        'div',
        { class: 'viewer-actions' },
        button('primary', 'download', 'download', () => void actions.download(current())),
        canCopy() && button('quiet', 'copy', 'copy', () => void actions.copy(current())),
        button('quiet', 'reference', 'useAsReference', () => {
          dialog.close();
          void actions.useAsReference(current());
        }),
        erasing,
      ),
    ),
  );
  document.body.append(dialog);

  function render(): void {
    const { picture, caption: text, expires, isKept } = all[position]!;
    const { width, height, mediaType, bytes, size, sha256 } = picture.image;
    image.src = picture.src;
    image.alt = text ?? '';
    if (text) {
      hush(caption);
      caption.textContent = text;
    } else {
      say(caption, 'generatedPlain', picture.image.index + 1);
    }
    const kind = mediaType?.split('/')[1]?.toUpperCase();
    const pixels = width && height ? `${width} × ${height}` : size;
    const known = [pixels, kind, bytes && sizeOf(bytes), sha256 && `sha256 ${sha256.slice(0, 12)}…`];
    facts.replaceChildren(...known.flatMap((fact) => (fact ? [h('li', {}, fact)] : [])));
    if (expires) facts.append(h('li', { say: ['keptUntil', expires] }));
    previous.hidden = position === 0;
    following.hidden = position === all.length - 1;
    erasing.hidden = !isKept || !canErase;
    isSure = false;
    say(erasing.lastElementChild!, 'erase');
  }

  function move(by: number): void {
    const next = position + by;
    if (next < 0 || next >= all.length) return;
    position = next;
    render();
    if (document.activeElement === document.body || (document.activeElement as HTMLElement).hidden) dialog.focus();
  }

  async function eraseNow(): Promise<void> {
    if (!isSure) {
      isSure = true;
      return say(erasing.lastElementChild!, 'eraseSure');
    }
    try {
      await erase(current().image.taskId);
      dialog.close();
      notify('erased');
    } catch (error) {
      const { status } = error as ImageStreamError;
      canErase = status !== 404 && status !== 405;
      notify(canErase ? 'eraseFailed' : 'eraseUnavailable');
      render();
    }
  }

  image.addEventListener('error', () => void showRenewed(current()));
  async function showRenewed(broken: ShownPicture): Promise<void> {
    const fresh = await renew(broken);
    if (broken !== current()) return;
    if (!fresh || fresh.picture.src === broken.src) return notify('gone');
    all[position] = fresh;
    render();
  }

  dialog.addEventListener('keydown', ({ key }) => {
    if (key === 'ArrowLeft') move(-1);
    if (key === 'ArrowRight') move(1);
  });
  dialog.addEventListener('click', ({ target }) => target === dialog && dialog.close());

  return {
    open(pictures, start) {
      all = pictures;
      position = Math.max(0, all.findIndex(({ picture }) => isSame(picture, start)));
      render();
      dialog.showModal();
    },
    isOpen: () => dialog.open,
  };
}
