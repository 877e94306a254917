import type { FaceflipRequest, GenerateRequest, ImageClient } from './client.js';
import { ImageStreamError } from './errors.js';
import type { FailedImage, GeneratedImage, ImageResult } from './events.js';
import type { RunOptions } from './run.js';
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
export declare function createImageStreamStore(client: ImageClient): ImageStreamStore;
