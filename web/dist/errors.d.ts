import type { GeneratedImage } from './events.js';
/** The language of a sentence that a user reads. */
export type Language = 'zh' | 'en';
/** What an {@link ImageStreamError} may carry beside its code and sentence. */
export interface ErrorDetails {
    status?: number;
    retryable?: boolean;
    retryAfterMs?: number;
    requestId?: string;
    paid?: boolean;
    cause?: unknown;
}
/** The codes of a call that may have reached the server. */
export declare const LOST: RegExp;
/** Every failure of this package. Decide by `code`, show `message`. */
export declare class ImageStreamError extends Error {
    /**
     * The server's code (docs/api.md), or `network`, `timeout`, `aborted`, `protocol`, `interrupted`, or
     * `http_<status>` for a refusal that has no code.
     */
    readonly code: string;
    /** The HTTP status of a refusal. */
    readonly status?: number;
    /** Whether the same call may succeed later. A repeat of a failed task uses the same task id. */
    readonly retryable: boolean;
    /** The wait, in milliseconds, that the server asks for. */
    readonly retryAfterMs?: number;
    /** The request id of the refusal, for a support request. */
    readonly requestId?: string;
    /** Which members of the request were refused, as JSON pointers. */
    readonly errors?: {
        pointer: string;
        code: string;
    }[];
    /** Set for `interrupted`: true if the log says that the task succeeded and its pictures are not kept. */
    readonly paid?: boolean;
    /** The task that failed. */
    taskId?: string;
    /** The pictures that were whole before the failure. They stay valid. */
    images: GeneratedImage[];
    constructor(code: string, message: string, details?: ErrorDetails);
}
/** The browser's language, else Chinese. */
export declare const preferredLanguage: () => Language;
/** Makes a failure with one of the sentences of this package, and `note` behind it in parentheses. */
export type Fail = (code: string, details?: ErrorDetails, note?: string | number) => ImageStreamError;
export declare function failIn(language: Language): Fail;
/** The members of a problem document, of an `error` event, or of the `error` in a chat answer. */
export interface Problem extends ErrorDetails {
    code?: unknown;
    error?: unknown;
    message?: unknown;
    images?: unknown;
}
/** The failure that `problem` describes, with all of its members, or one of `code` if it describes none. */
export declare function fromProblem(problem: Problem, code: string, fail: Fail, details?: ErrorDetails): ImageStreamError;
