import { type Language } from './errors.js';
import { type ShrunkPhoto } from './shrink.js';
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
/** Scales photos down in a worker, one after another. Throws `invalid_image` for one that the browser cannot read. */
export declare function preparePhotos(photos: readonly (Blob | string)[], { maxEdge, maxBytes, language, signal, workerUrl }?: PhotoOptions): Promise<PreparedPhoto[]>;
