import type { GeneratedImage } from './events.js';
import type { Generations } from './generations.js';
import type { RunSettings } from './run.js';
/**
 * The bytes of a picture. If its link has expired, the log is asked for a new one, once. The token is not sent, and the
 * host may be silent as long as a stream.
 */
export declare function download(image: GeneratedImage, { fetch, fail, idleTimeoutMs }: RunSettings, log?: Generations, outer?: AbortSignal): Promise<Blob>;
/** Links and data URLs as they are, files as data URLs. */
export declare const toInputs: (photos: readonly (string | Blob)[]) => Promise<string[]>;
/** The bytes of `blob` as a `data:` URL, with the media type found in them. */
export declare function toDataUrl(blob: Blob): Promise<string>;
/** The media type by the first bytes: PNG, JPEG or WebP. */
export declare function sniff(head: Uint8Array): string | undefined;
