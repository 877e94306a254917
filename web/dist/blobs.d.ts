import type { BlobOptions } from './client.js';
import type { GeneratedImage } from './events.js';
import type { Generations } from './generations.js';
import type { RunSettings } from './run.js';
/** The bytes of a picture. */
export declare function download(image: GeneratedImage, settings: RunSettings, log?: Generations, { signal }?: BlobOptions): Promise<Blob>;
/** Links and data URLs as they are, files as data URLs. */
export declare const toInputs: (photos: readonly (string | Blob)[]) => Promise<string[]>;
/** The bytes of `blob` as a `data:` URL, with the media type found in them. */
export declare function toDataUrl(blob: Blob): Promise<string>;
/** The media type by the first bytes: PNG, JPEG or WebP. */
export declare function sniff(head: Uint8Array): string | undefined;
