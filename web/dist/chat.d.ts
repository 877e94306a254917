import type { Answer } from './answer.js';
import { type Fail } from './errors.js';
import type { SseEvent } from './sse.js';
/** Reads answers that are not typed events: chat chunks, and JSON documents. */
export interface ChatReader {
    /** Reads a chat chunk, `[DONE]` or an error event. */
    read(event: SseEvent): void;
    /** Reads the one-shot route's answer, or a chat completion of an upstream that ignored `stream`. */
    readJson(text: string): void;
}
/** A reader that gives what it finds to `answer`. Its module is loaded when an answer needs it. */
export declare function createChatReader(answer: Answer, taskId: string, fail: Fail): ChatReader;
