import { failIn, preferredLanguage, type Language } from './errors.js';
import type { GeneratedImage } from './events.js';
import { createGenerations, type Generations } from './generations.js';
import { defined, type TokenSource } from './request.js';
import { createRun, type ImageRun, type RetryOptions, type RunOptions, type RunSettings } from './run.js';

/** The address of each route, with its path. */
export interface ImageClientUrls {
  generate?: string;
  image?: string;
  faceflip?: string;
  /** Without it nothing can be resumed, listed or cancelled. */
  generations?: string;
}

export interface ImageClientOptions {
  /** The base of all routes, or their addresses. Default: the page's own host. */
  url?: string | ImageClientUrls;
  /** The user's access token. It is asked for before every request, and once more after a 401. */
  token?: TokenSource;
  /** The language of sentences. Default: the browser's, else Chinese. */
  language?: Language;
  /** Further headers of every request. */
  headers?: Record<string, string>;
  fetch?: typeof fetch;
  /** When a POST is sent again; `false` for never. */
  retry?: false | RetryOptions;
  /** The longest silence of a stream. Default 60000. */
  idleTimeoutMs?: number;
  /** The longest run. Default 660000. */
  totalTimeoutMs?: number;
  /** The longest wait for the token. Default 10000. */
  tokenTimeoutMs?: number;
  /** The largest body. Default 6291456, the platform's limit. */
  maxBodyBytes?: number;
  /** The time between two previews of a picture; 0 for none. Default 400. */
  previewIntervalMs?: number;
}

export interface GenerateRequest {
  prompt: string;
  /** Reference pictures: data URLs, `https` links, files. At most 3. `preparePhotos` makes large ones fit. */
  images?: readonly (string | Blob)[];
  /** 1 to 4. */
  n?: number;
  model?: string;
  /** Such as `16:9`. */
  aspectRatio?: string;
  /** `url`: links in place of bytes, where the service keeps pictures. */
  delivery?: 'inline' | 'url';
  /** The wire format to ask for. Default `events`. */
  format?: 'events' | 'chat';
}

export interface FaceflipRequest {
  /** Photos: `https` links, data URLs, files. 1 to 10. */
  urls: readonly (string | Blob)[];
  /** Default: a new one. */
  taskId?: string;
  prompt?: string;
}

/** How a picture is read. */
export interface BlobOptions {
  signal?: AbortSignal;
}

export interface ImageClient extends Generations {
  /** `POST /api/generate-stream` */
  generate(request: GenerateRequest, options?: RunOptions): ImageRun;
  /** `POST /api/generate-image`: one answer when all pictures are whole. */
  generateImage(request: GenerateRequest, options?: RunOptions): ImageRun;
  /** `POST /api/v1/faceflip/generate/stream` */
  faceflip(request: FaceflipRequest, options?: RunOptions): ImageRun;
  /** Follows a task that was sent earlier, by this page or another. */
  resume(taskId: string, options?: RunOptions): ImageRun;
  /**
   * The picture's bytes. If its link has expired, the log is asked for a new one, once. A link that the page may not
   * read is `network`: show `image.url` then.
   */
  blob(image: GeneratedImage, options?: BlobOptions): Promise<Blob>;
}

const ROUTES = {
  generate: '/api/generate-stream',
  image: '/api/generate-image',
  faceflip: '/api/v1/faceflip/generate/stream',
  generations: '/api/generations',
} as const;

/** A client of the image gateway. It keeps no state between runs. */
export function createImageClient(options: ImageClientOptions = {}): ImageClient {
  const { url = '', retry = {}, language, maxBodyBytes = 6 << 20 } = options;
  const fail = failIn(language ?? preferredLanguage());
  const settings: RunSettings = {
    tokenTimeoutMs: 10_000,
    idleTimeoutMs: 60_000,
    totalTimeoutMs: 660_000,
    previewIntervalMs: 400,
    fetch: (...request) => fetch(...request),
    ...defined(options),
    headers: { ...(language && { 'Accept-Language': language }), ...options.headers },
    retry: { retries: retry === false ? 0 : 2, baseMs: 500, maxMs: 8000, maxRetryAfterMs: 60_000, ...defined(retry) },
    fail,
  };

  function address(route: keyof typeof ROUTES): string {
    const found = typeof url === 'string' ? url.replace(/\/$/, '') + ROUTES[route] : url[route];
    if (!found) throw new TypeError(`url.${route} is missing`);
    return found;
  }

  const generations = createGenerations(settings, () => address('generations'));
  const log = typeof url === 'string' || url.generations ? generations : undefined;

  function start(route: keyof typeof ROUTES, taskId: string, members: () => Promise<object>, options: RunOptions): ImageRun {
    const url = address(route);
    const headers = {
      'Content-Type': 'application/json',
      Accept: 'text/event-stream, application/problem+json',
      ...(route !== 'faceflip' && { 'Idempotency-Key': taskId }),
    };
    async function body(): Promise<string> {
      const text = JSON.stringify(await members());
      if (new Blob([text]).size > maxBodyBytes) throw fail('payload_too_large');
      return text;
    }
    return createRun(settings, log, taskId, { url, headers, body }, options);
  }

  function generate(route: 'generate' | 'image', request: GenerateRequest, options: RunOptions): ImageRun {
    const { images, aspectRatio, format = 'events', ...rest } = request;
    const members = async () => {
      // What a paid answer needs is loaded before it.
      if (route === 'image' || format === 'chat') await import('./chat.js');
      return { ...rest, image_inputs: images && (await toInputs(images)), aspect_ratio: aspectRatio, format };
    };
    return start(route, options.taskId ?? newTaskId(), members, options);
  }

  return {
    ...generations,
    generate: (request, options = {}) => generate('generate', request, options),
    // Nothing is sent before its whole answer, so silence is no failure.
    generateImage: (request, options = {}) => generate('image', request, { ...options, idleTimeoutMs: Infinity }),
    faceflip({ urls, prompt, taskId }, options = {}) {
      const task_id = taskId ?? options.taskId ?? newTaskId();
      const members = async () => ({ urls: await toInputs(urls), task_id, prompt });
      return start('faceflip', task_id, members, options);
    },
    resume: (taskId, options = {}) => createRun(settings, log, taskId, undefined, options),
    blob: async (image, options) => (await import('./blobs.js')).download(image, settings, log, options),
  };
}

/** The bytes of `blob` as a `data:` URL, with the media type found in them. */
export async function toDataUrl(blob: Blob): Promise<string> {
  return (await import('./blobs.js')).toDataUrl(blob);
}

const toInputs = async (photos: readonly (string | Blob)[]): Promise<string[]> => (await import('./blobs.js')).toInputs(photos);

/** 128 random bits. `crypto.randomUUID` is missing on a page without TLS. */
const newTaskId = (): string => crypto.getRandomValues(new Uint32Array(4)).join('-');
