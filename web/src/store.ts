import type { FaceflipRequest, GenerateRequest, ImageClient } from './client.js';
import { ImageStreamError } from './errors.js';
import type { FailedImage, GeneratedImage, ImageEvent, ImageResult } from './events.js';
import type { ImageRun, RunOptions } from './run.js';

/** A picture with an address for an `<img>`. */
export interface ShownImage extends GeneratedImage {
  src: string;
}

/** What a page shows of a run. */
export interface ImageStreamState {
  status: 'idle' | 'connecting' | 'streaming' | 'completed' | 'error';
  taskId?: string;
  /** The last message of a `start` or `process` event. */
  message: string;
  text: string;
  /** Of the pictures that are arriving. */
  receivedBytes: number;
  /** Object URLs of unfinished pictures, by slot. */
  previews: Record<number, string>;
  images: ShownImage[];
  failed: FailedImage[];
  error?: ImageStreamError;
  /** True if the stream broke and the log is asked. */
  resumed: boolean;
}

export interface ImageStreamActions {
  /** Starts a run. While one is going it returns that run's promise. It resolves to undefined on failure: see `error`. */
  generate(request: GenerateRequest, options?: RunOptions): Promise<ImageResult | undefined>;
  faceflip(request: FaceflipRequest, options?: RunOptions): Promise<ImageResult | undefined>;
  resume(taskId: string, options?: RunOptions): Promise<ImageResult | undefined>;
  /** Stops the run, on the server too. */
  cancel(): void;
  /** Stops reading and forgets everything. */
  reset(): void;
}

/** The state of a view, without a framework. */
export interface ImageStreamStore extends ImageStreamActions {
  get(): ImageStreamState;
  subscribe(listener: () => void): () => void;
  /** Registers a view. The returned function stops reading, unless another view is registered in the same task. */
  attach(): () => void;
}

const IDLE: ImageStreamState = {
  status: 'idle',
  message: '',
  text: '',
  receivedBytes: 0,
  previews: {},
  images: [],
  failed: [],
  resumed: false,
};

/** The time between two updates of the received bytes. */
const PROGRESS_MS = 100;

export function createImageStreamStore(client: ImageClient): ImageStreamStore {
  let state = IDLE;
  let current: { run: ImageRun; stop: AbortController; ended: Promise<ImageResult | undefined>; isCancelled?: true } | undefined;
  let views = 0;
  let progressAt = 0;
  const received = new Map<number, number>();
  const listeners = new Set<() => void>();
  const urls = new Set<string>();

  function set(change: Partial<ImageStreamState>): void {
    state = { ...state, ...change };
    for (const listener of listeners) listener();
  }

  function urlOf(blob: Blob): string {
    const url = URL.createObjectURL(blob);
    urls.add(url);
    return url;
  }

  function revoke(url: string | undefined): void {
    if (url && urls.delete(url)) URL.revokeObjectURL(url);
  }

  function clear(): void {
    for (const url of urls) revoke(url);
    received.clear();
    state = IDLE;
  }

  /** The previews without that of a slot; the view may still load it, so it is revoked later. */
  function withoutPreview(index: number): Record<number, string> {
    const { [index]: old, ...previews } = state.previews;
    if (old) setTimeout(() => revoke(old), 1000);
    return previews;
  }

  function apply(event: ImageEvent): void {
    switch (event.type) {
      case 'connecting':
        return set({ status: 'connecting' });
      case 'resumed':
        return set({ status: 'streaming', resumed: true });
      case 'start':
      case 'process':
        return set({ status: 'streaming', message: event.message ?? '' });
      case 'text':
        return set({ status: 'streaming', text: state.text + event.text });
      case 'image-start':
        received.delete(event.index);
        return set({ status: 'streaming' });
      case 'progress': {
        received.set(event.index, event.receivedBytes);
        if (Date.now() - progressAt < PROGRESS_MS) return;
        progressAt = Date.now();
        return set({ receivedBytes: [...received.values()].reduce((sum, bytes) => sum + bytes, 0) });
      }
      case 'preview':
        return set({ previews: { ...withoutPreview(event.index), [event.index]: urlOf(event.blob) } });
      case 'image': {
        const { image, index } = event;
        const others = state.images.filter((shown) => shown.index !== index);
        revoke(state.images.find((shown) => shown.index === index)?.src);
        const shown = { ...image, src: image.blob ? urlOf(image.blob) : image.url! };
        return set({
          previews: withoutPreview(index),
          images: [...others, shown].sort((a, b) => a.index - b.index),
        });
      }
      case 'done': {
        const { failed, text, resumed, images } = event.result;
        const final = state.images.filter((shown) => images.some(({ index }) => index === shown.index));
        return set({ status: 'completed', failed, text, resumed, previews: {}, images: final });
      }
    }
  }

  function start(begin: (options: RunOptions) => ImageRun, options: RunOptions = {}): Promise<ImageResult | undefined> {
    if (current && !current.isCancelled) return current.ended;
    const stop = new AbortController();
    options.signal?.addEventListener('abort', () => stop.abort(), { signal: stop.signal });
    if (options.signal?.aborted) stop.abort();
    const run = begin({ ...options, signal: stop.signal });
    const mine = { run, stop, ended: read() };
    current = mine;
    return mine.ended;

    async function read(): Promise<ImageResult | undefined> {
      clear();
      set({ status: 'connecting', taskId: run.taskId });
      const isCurrent = (): boolean => current?.run === run;
      try {
        for await (const event of run) if (isCurrent()) apply(event);
        return await run.result();
      } catch (error) {
        if (!(error instanceof ImageStreamError)) throw error;
        if (isCurrent()) set(error.code === 'aborted' ? { status: 'idle', error } : { status: 'error', error });
        return undefined;
      } finally {
        if (isCurrent()) current = undefined;
      }
    }
  }

  function stopReading(): void {
    current?.stop.abort();
    current = undefined;
  }

  return {
    get: () => state,
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    attach() {
      views++;
      // React's StrictMode takes a view away and puts it back in the same task.
      return () => setTimeout(() => --views || (stopReading(), clear()));
    },
    generate: (request, options) => start((all) => client.generate(request, all), options),
    faceflip: (request, options) => start((all) => client.faceflip(request, all), options),
    resume: (taskId, options) => start((all) => client.resume(taskId, all), options),
    cancel() {
      if (!current) return;
      current.isCancelled = true;
      void current.run.cancel();
    },
    reset() {
      stopReading();
      clear();
      set({});
    },
  };
}
