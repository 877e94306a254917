import type { ImageStreamError } from './errors.js';
/** A picture that is whole. It has a `blob`, a `url`, or both. */
export interface GeneratedImage {
    taskId: string;
    /** The slot, from 0. */
    index: number;
    /** The bytes, if they came in the stream. */
    blob?: Blob;
    /** A link to the picture. It lives until `urlExpires`; `client.blob` asks for a new one. */
    url?: string;
    /** RFC 3339; of the link. */
    urlExpires?: string;
    /** RFC 3339; of the kept picture. */
    expires?: string;
    /** Found in the bytes. */
    mediaType?: string;
    bytes?: number;
    /** Lower-case hex. */
    sha256?: string;
    width?: number;
    height?: number;
    /** The size that ARK was asked for, such as `2K`. */
    size?: string;
    /** The implicit label in the bytes: written by the service, found in the picture, or none. Absent where the service writes none. */
    label?: 'written' | 'kept' | 'none';
    /** True if the upstream marks it as interim. */
    draft?: boolean;
}
/** A slot that has no picture. */
export interface FailedImage {
    index: number;
    code: string;
    message: string;
}
/** What the upstream counted, each where it is known. */
export interface Usage {
    inputTokens?: number;
    outputTokens?: number;
    totalTokens?: number;
    generatedImages?: number;
}
/** How a run ended. */
export interface ImageResult {
    taskId: string;
    /** The final picture of each slot, in slot order. At least one. */
    images: GeneratedImage[];
    failed: FailedImage[];
    /** What the model wrote beside the pictures. */
    text: string;
    usage?: Usage;
    creditsRemaining?: number;
    /** True if the stream broke and the log had the rest. */
    resumed: boolean;
}
/** What an {@link ImageRun} yields. `done` is the last event of a success; a failure is thrown. */
export type ImageEvent = 
/** A POST is about to be sent; `attempt` counts from 1. */
{
    type: 'connecting';
    attempt: number;
}
/** The POST was refused or did not arrive, and is sent again after `delayMs`. */
 | {
    type: 'retry';
    attempt: number;
    delayMs: number;
    error: ImageStreamError;
}
/** The stream broke, as `error` describes, and the log is asked instead. */
 | {
    type: 'resumed';
    taskId: string;
    error?: ImageStreamError;
} | {
    type: 'start';
    taskId: string;
    n?: number;
    message?: string;
}
/** A change of stage, or a sign of life. */
 | {
    type: 'process';
    message: string;
    elapsedMs?: number;
} | {
    type: 'text';
    index: number;
    text: string;
}
/** A picture begins. It replaces an unfinished one of its slot. */
 | {
    type: 'image-start';
    index: number;
    mediaType?: string;
    draft: boolean;
}
/** Bytes arrived; `b64` is the piece as it came. */
 | {
    type: 'progress';
    index: number;
    receivedBytes: number;
    b64: string;
}
/** The bytes so far, for an `<img>`: browsers show the top of an unfinished picture. */
 | {
    type: 'preview';
    index: number;
    blob: Blob;
    receivedBytes: number;
}
/** A whole picture. A later one of the same slot replaces it. */
 | {
    type: 'image';
    index: number;
    image: GeneratedImage;
}
/** The picture is kept, under a link. */
 | {
    type: 'stored';
    index: number;
    url: string;
    urlExpires?: string;
} | {
    type: 'done';
    result: ImageResult;
};
/** One task of the log. */
export interface Generation {
    taskId: string;
    /** The path of the request. */
    route: string;
    status: 'running' | 'succeeded' | 'failed';
    /** Why it failed. */
    code?: string;
    attempts: number;
    /** How many pictures were made. */
    images: number;
    created: string;
    updated: string;
    credits?: number;
    /** The upstream that made the pictures or failed last. */
    upstream?: string;
    /** What the pictures cost, where prices are configured. */
    cost?: number;
    /** ARK's own links. */
    urls?: string[];
    /** The kept pictures, with fresh links. One that has expired has no `url`. */
    pictures?: GeneratedImage[];
    cancelling?: boolean;
}
/** A page of the log, newest first. */
export interface GenerationPage {
    items: Generation[];
    /** The `cursor` of the next page. */
    next: string | null;
    credits?: number;
    rate?: {
        limit: number;
        remaining: number;
        resetMs: number;
    };
    /** The pictures of this day. */
    daily?: {
        limit: number;
        remaining: number;
        resetMs: number;
    };
    /** The tasks that may still start. */
    running?: {
        limit: number;
        remaining: number;
    };
}
/** Parses JSON whose member names become those of TypeScript: `url_expires` is `urlExpires`. */
export declare function parseWire(json: string): unknown;
