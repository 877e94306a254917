import { decodeBase64 } from './base64.js';
import { toDataUrl } from './client.js';
import { failIn, ImageStreamError, preferredLanguage, type Language } from './errors.js';
import type { ShrinkReply, ShrinkRequest } from './photos-worker.js';
import { shrink, type ShrunkPhoto } from './shrink.js';

export interface PhotoOptions {
  /** The longest edge, in pixels. Default 2048. */
  maxEdge?: number;
  /** The largest photo, in bytes. By default all of them fit one request: 1400000 for up to three. */
  maxBytes?: number;
  /** Of sentences. Default: the browser's, else Chinese. */
  language?: Language;
  signal?: AbortSignal;
  /** The address of `photos-worker.js`, where a bundler does not find it. */
  workerUrl?: string | URL;
}

export interface PreparedPhoto extends ShrunkPhoto {
  dataUrl: string;
  originalBytes: number;
}

const ALL_BYTES = 4_200_000;

const HEIC =
  '此浏览器无法读取 HEIC，请改用 JPEG（iPhone：设置 > 相机 > 格式 > 兼容性最佳）|This browser cannot read HEIC. Use JPEG (iPhone: Settings > Camera > Formats > Most Compatible)';
const UNREADABLE = '请改用 JPEG、PNG 或 WebP|Use JPEG, PNG or WebP';

/** Scales photos down in a worker, one after another. Throws `invalid_image` for one that the browser cannot read. */
export async function preparePhotos(
  photos: readonly (Blob | string)[],
  { maxEdge = 2048, maxBytes, language = preferredLanguage(), signal, workerUrl }: PhotoOptions = {},
): Promise<PreparedPhoto[]> {
  const limit = maxBytes ?? Math.floor(ALL_BYTES / Math.max(3, photos.length));
  let worker = startWorker(workerUrl);
  const prepared: PreparedPhoto[] = [];
  try {
    for (const photo of photos) {
      if (signal?.aborted) throw failIn(language)('aborted');
      const original = typeof photo === 'string' ? fromDataUrl(photo) : photo;
      const request: ShrinkRequest = [original, maxEdge, limit];
      let reply = worker && (await ask(worker, request));
      if (!reply) {
        worker?.terminate();
        worker = undefined;
        reply = await shrink(...request).catch(({ message }: Error) => message);
      }
      if (typeof reply === 'string') {
        const sentences = reply === 'heic' ? HEIC : UNREADABLE;
        throw new ImageStreamError('invalid_image', sentences.split('|')[+(language === 'en')]!);
      }
      prepared.push({ ...reply, dataUrl: await toDataUrl(reply.blob), originalBytes: original.size });
    }
  } finally {
    worker?.terminate();
  }
  return prepared;
}

function fromDataUrl(url: string): Blob {
  const [head = '', payload = ''] = url.split(',');
  return new Blob([decodeBase64(payload)], { type: head.replace(/^data:|;.*/g, '') });
}

/** Undefined where no worker can be started: then the page draws itself. */
function startWorker(url?: string | URL): Worker | undefined {
  try {
    if (url) return new Worker(url, { type: 'module' });
    return new Worker(new URL('./photos-worker.js', import.meta.url), { type: 'module' });
  } catch {
    return undefined;
  }
}

/** Undefined if the worker does not run. */
function ask(worker: Worker, request: ShrinkRequest): Promise<ShrinkReply | undefined> {
  return new Promise((resolve) => {
    worker.onmessage = ({ data }: MessageEvent<ShrinkReply>) => resolve(data);
    worker.onerror = () => resolve(undefined);
    worker.postMessage(request);
  });
}
