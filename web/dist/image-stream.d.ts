import { type ImageClient, type ImageClientOptions } from './client.js';
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
/**
 * The functions of the documented `@/lib/image-stream`. Failures reject with an `ImageStreamError`, after
 * `onStatus('error')`.
 */
export declare function createImageStream(options?: ImageClientOptions | ImageClient): ImageStream;
