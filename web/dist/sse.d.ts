/** One event of an event stream. `id` and `retry` are not reported: the service resumes by its log. */
export interface SseEvent {
    /** The `event` field, else `message`. */
    event: string;
    /** The `data` lines, joined by line feeds. */
    data: string;
}
/** Reads an event stream from pieces that are cut anywhere. */
export interface SseDecoder {
    /** The events that `piece` completes. Throws a `SyntaxError` beyond `maxChars`. */
    push(piece: Uint8Array): SseEvent[];
    /** The event that the end of the stream leaves without its blank line. */
    finish(): SseEvent[];
}
/**
 * A decoder after https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation, linear in
 * its input. It departs from it in one point: `finish` returns the last event if only its blank line is missing.
 * @param maxChars the longest event, in UTF-16 code units
 */
export declare function createSseDecoder(maxChars?: number): SseDecoder;
