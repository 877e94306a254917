import type { GeneratedImage } from './events.js';
import type { Generations } from './generations.js';
import type { RequestSettings } from './request.js';
import type { RedrawOptions } from './visible-label.js';
/** The bytes of a picture, drawn anew if there are options. */
export declare function download(image: GeneratedImage, settings: RequestSettings, log?: Generations, options?: RedrawOptions): Promise<Blob>;
/** The bytes of `blob` as a `data:` URL, with the media type found in them. */
export declare function toDataUrl(blob: Blob): Promise<string>;
/** The media type by the first bytes: PNG, JPEG or WebP. */
export declare function sniff(head: Uint8Array): string | undefined;
