// The actions of a picture: download, copy, use as a reference.
import type { GeneratedImage, ImageClient } from '../src/index.js';
import { reachable, type Config } from './config.js';
import { h, notify } from './dom.js';

/** A picture on the page. */
export interface ShownPicture {
  image: GeneratedImage;
  /** For an `<img>`. */
  src: string;
}

/** The actions, for every view that shows pictures. */
export interface PictureActions {
  show(image: GeneratedImage): ShownPicture;
  bytes(image: GeneratedImage): Promise<Blob>;
  download(picture: ShownPicture): Promise<void>;
  copy(picture: ShownPicture): Promise<void>;
  /** Adds the picture to the photos of the form. */
  useAsReference(picture: ShownPicture): Promise<void>;
  /** Lets go of the bytes of these pictures; without them of all. */
  release(images?: readonly GeneratedImage[]): void;
}

/** Whether both are the picture of the same task and slot; their links may differ. */
export const isSame = ({ image: a }: ShownPicture, { image: b }: ShownPicture): boolean => a.taskId === b.taskId && a.index === b.index;

/** Whether this browser lets a page copy pictures: on the device itself or over TLS. */
export const canCopy = (): boolean => typeof ClipboardItem !== 'undefined' && !!navigator.clipboard?.write;

const sources = new Map<Blob, string>();

/** The object URL of a blob, until `release`. */
function sourceOf(blob: Blob): string {
  const known = sources.get(blob) ?? URL.createObjectURL(blob);
  sources.set(blob, known);
  return known;
}

/** A browser reads the bytes of a download after the click. */
const DOWNLOAD_MS = 60_000;
const EXTENSIONS: Record<string, string> = { 'image/jpeg': 'jpg', 'image/webp': 'webp' };

export function createPictureActions(config: Config, client: () => ImageClient, addPhoto: (photo: Blob | string) => Promise<void>): PictureActions {
  async function bytes(image: GeneratedImage): Promise<Blob> {
    if (image.blob) return image.blob;
    const link = reachable(image.url!, config);
    // A link of the local stack that is not this device's own is fetched by the stack.
    if (link !== image.url) return (await fetch(link)).blob();
    return client().blob(image);
  }

  return {
    show: (image) => ({ image, src: image.blob ? sourceOf(image.blob) : reachable(image.url!, config) }),
    bytes,
    async download({ image, src }) {
      try {
        const blob = await bytes(image);
        const name = `${image.taskId.slice(0, 8)}-${image.index + 1}.${EXTENSIONS[blob.type] ?? 'png'}`;
        const href = URL.createObjectURL(blob);
        h('a', { href, download: name }).click();
        setTimeout(() => URL.revokeObjectURL(href), DOWNLOAD_MS);
      } catch {
        // The host of the link lets no page read its pictures.
        h('a', { href: src, target: '_blank', rel: 'noreferrer' }).click();
        notify('openedInTab');
      }
    },
    async copy({ image }) {
      try {
        // Safari wants the item at once and its bytes later. Only PNG can be copied everywhere.
        await navigator.clipboard.write([new ClipboardItem({ 'image/png': bytes(image).then(toPng) })]);
        notify('copied');
      } catch {
        await navigator.clipboard.writeText(image.url ?? '').then(
          () => notify(image.url ? 'copiedLink' : 'copyFailed'),
          () => notify('copyFailed'),
        );
      }
    },
    async useAsReference({ image }) {
      // Where the bytes cannot be read, the service passes the link on.
      await addPhoto(await bytes(image).catch(() => image.url!));
      notify('addedReference');
    },
    release(images) {
      for (const [blob, source] of sources) {
        if (images && !images.some((image) => image.blob === blob)) continue;
        URL.revokeObjectURL(source);
        sources.delete(blob);
      }
    },
  };
}

async function toPng(blob: Blob): Promise<Blob> {
  if (blob.type === 'image/png') return blob;
  const bitmap = await createImageBitmap(blob);
  const canvas = h('canvas', { width: bitmap.width, height: bitmap.height });
  canvas.getContext('2d')!.drawImage(bitmap, 0, 0);
  bitmap.close();
  return new Promise((resolve, reject) => canvas.toBlob((png) => (png ? resolve(png) : reject(new Error('no PNG'))), 'image/png'));
}
