import { ImageStreamError, type Fail } from './errors.js';
/** A bearer token, or a function that has one. `refresh` is true after a 401. */
export type TokenSource = string | ((ask: {
    refresh: boolean;
}) => string | null | undefined | Promise<string | null | undefined>);
/** What every request needs. */
export interface RequestSettings {
    token?: TokenSource;
    tokenTimeoutMs: number;
    headers: Record<string, string>;
    fail: Fail;
    fetch: typeof fetch;
}
/** Sends a request with the user's token. After a 401 the token is asked for once more. */
export declare function send({ token, tokenTimeoutMs, headers, fail, fetch }: RequestSettings, url: string, init: RequestInit & {
    signal: AbortSignal;
}): Promise<Response>;
/** The problem that a refusal holds, also if the platform wrote it. A body that breaks off is thrown as `network`. */
export declare function refusal(response: Response, signal: AbortSignal, fail: Fail): Promise<ImageStreamError>;
/** A controller that `outer` aborts too. Its own `abort` at the end lets go of `outer`. */
export declare function childOf(outer?: AbortSignal): AbortController;
/** `object` without the members that are undefined: they stand for the default. */
export declare const defined: <T>(object: T) => T & object;
/**
 * `work`, or `network` if it fails, or `aborted` once `signal` is, or `timeout` after `ms`: a page's own `fetch` or token
 * function may ignore its signal. A timer that fires late means that the page slept, and answers may be waiting: it runs
 * once more.
 */
export declare function bounded<T>(work: Promise<T>, signal: AbortSignal, fail: Fail, ms?: number): Promise<T>;
/** `cause` itself if it is one of ours, else a failure of `code`. */
export declare function known(cause: unknown, fail: Fail, code: string): ImageStreamError;
