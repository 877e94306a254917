import type { ImageEvent, ImageResult } from './events.js';
import type { Generations } from './generations.js';
import { type RequestSettings } from './request.js';
/** Limits of one run, over those of the client. */
export interface RunOptions {
    /** Stops reading. The server goes on: see {@link ImageRun.cancel}. */
    signal?: AbortSignal;
    /** The idempotency key, `[A-Za-z0-9_.:-]{1,128}`. A new one by default; the same one again retries a failed task. */
    taskId?: string;
    /** The longest silence, in milliseconds. The server sends a sign of life every 10 s. */
    idleTimeoutMs?: number;
    /** The longest run, in milliseconds of wall clock. */
    totalTimeoutMs?: number;
}
/** When a POST is sent again. */
export interface RetryOptions {
    /** Further attempts. Default 2. */
    retries?: number;
    /** The first wait without `Retry-After`, in milliseconds. Default 500, doubled each time. */
    baseMs?: number;
    /** The longest wait without `Retry-After`. Default 8000. */
    maxMs?: number;
    /** A longer `Retry-After` is thrown at once. Default 60000. */
    maxRetryAfterMs?: number;
}
/** A generation. Nothing is sent before it is iterated or `result` is called. It can be iterated once. */
export interface ImageRun extends AsyncIterable<ImageEvent> {
    /** The idempotency key, known before anything is sent. Store it to `resume` after a reload. */
    readonly taskId: string;
    /** The end of the run: it drains the run, or waits for the loop that does. */
    result(): Promise<ImageResult>;
    /** Stops reading (the loop throws `aborted`) and asks the server to stop. It does not reject. */
    cancel(): Promise<void>;
}
export interface RunSettings extends RequestSettings {
    retry: Required<RetryOptions>;
    idleTimeoutMs: number;
    totalTimeoutMs: number;
    previewIntervalMs: number;
}
/** A POST. */
export interface RunRequest {
    url: string;
    headers: Record<string, string>;
    /** Throws if the body cannot be sent. */
    body: () => Promise<string>;
}
/** A run that sends `request`, or without one follows `taskId` in the log. */
export declare function createRun(settings: RunSettings, log: Generations | undefined, taskId: string, request: RunRequest | undefined, options: RunOptions): ImageRun;
