import { type Language } from './errors.js';
import type { GeneratedImage } from './events.js';
import { type Generations } from './generations.js';
import { type TokenSource } from './request.js';
import { type ImageRun, type RetryOptions, type RunOptions } from './run.js';
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
/** A client of the image gateway. It keeps no state between runs. */
export declare function createImageClient(options?: ImageClientOptions): ImageClient;
/** The bytes of `blob` as a `data:` URL, with the media type found in them. */
export declare function toDataUrl(blob: Blob): Promise<string>;
