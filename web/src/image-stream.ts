import { createImageClient, toDataUrl, type ImageClient, type ImageClientOptions } from './client.js';
import type { GeneratedImage, ImageResult } from './events.js';
import { preparePhotos, type PhotoOptions } from './photos.js';
import type { ImageRun } from './run.js';

/** The documented statuses of `onStatus`. */
export type ImageStreamStatus = 'connecting' | 'streaming' | 'parsing' | 'completed' | 'error';

export interface GenerateImageParams {
  prompt: string;
  /** At most 3: data URLs, `https` links, files. Files, and photos too large for one request, are scaled down. */
  imageInputs?: readonly (string | Blob)[];
  /** How many pictures to make, if `multi` is set. */
  n?: number;
  model?: string;
  /** Such as `16:9`. */
  aspectRatio?: string;
  /** Asks for `n` pictures, which takes `n` calls of the limit. By default one is made whatever `n` says. */
  multi?: boolean;
  /** Stops reading; the call rejects with `aborted`. */
  signal?: AbortSignal;
  /** The idempotency key. The same one again retries a failed call. */
  taskId?: string;
}

export interface ImageStreamParams extends GenerateImageParams {
  /** Called with the whole content so far: text, and pictures as `![image](data:…)`. */
  onProgress?: (content: string) => void;
  onStatus?: (status: ImageStreamStatus) => void;
}

export interface ImageStreamPicture {
  /** A `data:` URL; the `https` link itself if the picture came as a link that the page may not read. */
  dataUrl: string;
  /** The part behind the comma; empty for a link. */
  base64: string;
  mediaType: string;
  /** The link, if there is one. */
  url?: string;
}

export interface ImageStreamResult {
  content: string;
  /** The first picture. */
  imageData: ImageStreamPicture | null;
  images: ImageStreamPicture[];
  taskId: string;
}

export interface GenerateImageResult {
  /** The link or the `data:` URL of the first picture. */
  imageUrl: string;
  imageData: ImageStreamPicture | null;
  images: ImageStreamPicture[];
  taskId: string;
}

export interface ImageStream {
  generateImageStream: (params: ImageStreamParams) => Promise<ImageStreamResult>;
  generateImage: (params: GenerateImageParams) => Promise<GenerateImageResult>;
  client: ImageClient;
}

/** About 4.4 MB of pictures, as base64: what fits one request. */
const MAX_INPUT_CHARS = 5_800_000;

/**
 * The functions of the documented `@/lib/image-stream`. Failures reject with an `ImageStreamError`, after
 * `onStatus('error')`.
 */
export function createImageStream(options: ImageClientOptions | ImageClient = {}): ImageStream {
  const isClient = 'generate' in options;
  const client = isClient ? options : createImageClient(options);
  const language = isClient ? undefined : options.language;

  async function start(params: GenerateImageParams, route: 'generate' | 'generateImage'): Promise<ImageRun> {
    const { prompt, imageInputs = [], n, model, aspectRatio, multi, signal, taskId } = params;
    const images = await fit(imageInputs, { ...(language && { language }), ...(signal && { signal }) });
    const request = {
      prompt,
      n: (multi && n) || 1,
      ...(images.length && { images }),
      ...(model && { model }),
      ...(aspectRatio && { aspectRatio }),
    };
    return client[route](request, { ...(signal && { signal }), ...(taskId && { taskId }) });
  }

  async function toPicture(image: GeneratedImage): Promise<ImageStreamPicture> {
    const { url, mediaType = '' } = image;
    let dataUrl: string;
    try {
      dataUrl = await toDataUrl(await client.blob(image));
    } catch (error) {
      if (!url) throw error;
      return { dataUrl: url, base64: '', mediaType, url };
    }
    const comma = dataUrl.indexOf(',');
    const type = dataUrl.slice('data:'.length, dataUrl.indexOf(';'));
    return { dataUrl, base64: dataUrl.slice(comma + 1), mediaType: type, ...(url && { url }) };
  }

  const toPictures = ({ images }: ImageResult): Promise<ImageStreamPicture[]> => Promise.all(images.map(toPicture));

  async function generateImageStream({ onProgress, onStatus, ...params }: ImageStreamParams): Promise<ImageStreamResult> {
    const content = createContent((text) => guarded(onProgress, text));
    let status: ImageStreamStatus | undefined;
    function setStatus(next: ImageStreamStatus): void {
      if (status !== next) guarded(onStatus, next);
      status = next;
    }
    setStatus('connecting');
    try {
      const run = await start(params, 'generate');
      for await (const event of run) {
        if (event.type === 'connecting') content.clear();
        if (event.type === 'resumed') content.resume();
        if (!/connecting|retry/.test(event.type)) setStatus('streaming');
        if (event.type === 'text') content.text(event.text);
        else if (event.type === 'image-start') content.begin(event.index, event.mediaType, event.draft);
        else if (event.type === 'progress') content.add(event.index, event.b64);
        else if (event.type === 'image') content.whole(event.image);
      }
      setStatus('parsing');
      const images = await toPictures(await run.result());
      setStatus('completed');
      return { content: content.all(), imageData: images[0] ?? null, images, taskId: run.taskId };
    } catch (error) {
      setStatus('error');
      throw error;
    }
  }

  async function generateImage(params: GenerateImageParams): Promise<GenerateImageResult> {
    const run = await start(params, 'generateImage');
    const images = await toPictures(await run.result());
    const first = images[0];
    return { imageUrl: first?.url ?? first?.dataUrl ?? '', imageData: first ?? null, images, taskId: run.taskId };
  }

  return { generateImageStream, generateImage, client };
}

/**
 * The content as a chat answer would write it. One picture grows at its end; others, and text, wait until it is whole, so
 * that every picture stands in one piece. Drafts are left out.
 */
function createContent(onGrow: (content: string) => void) {
  let content = '';
  let text = '';
  const waiting = new Map<number, string>();
  /** The picture that grows, and where in the content it begins. */
  let growing: { index: number; from: number } | undefined;

  function grow(more: string): void {
    content += more;
    onGrow(content);
  }

  /** Ends the picture that grows, and writes what has waited for it. */
  function end(close: string): void {
    growing = undefined;
    const whole = [...waiting].filter(([, picture]) => picture.endsWith(')'));
    for (const [index] of whole) waiting.delete(index);
    const more = [close, text, ...whole.map(([, picture]) => picture)].join('');
    text = '';
    if (more) grow(more);
  }

  return {
    all: () => content,
    clear(): void {
      content = text = '';
      waiting.clear();
      growing = undefined;
    },
    /** The stream has broken: what is not whole is taken away, and the log has links in its place. */
    resume(): void {
      if (growing) content = content.slice(0, growing.from);
      end('');
      waiting.clear();
    },
    text(more: string): void {
      if (growing) text += more;
      else grow(more);
    },
    begin(index: number, mediaType: string | undefined, draft: boolean): void {
      if (growing?.index === index) end(')');
      waiting.delete(index);
      if (draft) return;
      const head = `![image](data:${mediaType ?? 'image/png'};base64,`;
      if (growing) return void waiting.set(index, head);
      growing = { index, from: content.length };
      grow(head);
    },
    add(index: number, b64: string): void {
      if (growing?.index === index) grow(b64);
      else if (waiting.has(index)) waiting.set(index, waiting.get(index) + b64);
    },
    whole({ index, url, draft }: GeneratedImage): void {
      if (draft) return;
      if (growing?.index === index) return end(')');
      const begun = waiting.get(index);
      if (begun) waiting.set(index, `${begun})`);
      else if (url) waiting.set(index, `![image](${url.replaceAll('(', '%28').replaceAll(')', '%29')})`);
      if (!growing) end('');
    },
  };
}

/** A callback's own failure is reported, and does not end the stream. */
function guarded<T>(callback: ((value: T) => void) | undefined, value: T): void {
  try {
    callback?.(value);
  } catch (error) {
    console.error(error);
  }
}

/** Photos that fit one request. Without `OffscreenCanvas`, as on a server, they stay as they are. */
async function fit(photos: readonly (string | Blob)[], options: PhotoOptions): Promise<(string | Blob)[]> {
  const chars = photos.reduce((sum, photo) => sum + (typeof photo === 'string' ? photo.length : 0), 0);
  const isLarge = chars > MAX_INPUT_CHARS;
  const changed = photos.filter((photo) => typeof photo !== 'string' || (isLarge && photo.startsWith('data:')));
  if (!changed.length || typeof OffscreenCanvas === 'undefined') return [...photos];
  const prepared = await preparePhotos(changed, options);
  const fitted = new Map(changed.map((photo, index) => [photo, prepared[index]!.dataUrl]));
  return photos.map((photo) => fitted.get(photo) ?? photo);
}
