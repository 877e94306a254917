import { type Fail, type Problem } from './errors.js';
import { type FailedImage, type GeneratedImage, type ImageEvent, type ImageResult, type Usage } from './events.js';
import type { SseEvent } from './sse.js';
/** `data` of a typed event, under the names of TypeScript. Nothing in it is certain. */
export interface WireData extends Partial<GeneratedImage>, Problem {
    event?: string;
    data?: WireData;
    n?: number;
    text?: string;
    b64?: string;
    images?: WireData[];
    generatedImages?: WireData[];
    failed?: FailedImage[];
    usage?: Usage;
    creditsRemaining?: number;
}
/** The pictures of one answer, and the events they make. */
export interface Answer {
    /** Reads a typed event. */
    read(event: SseEvent): void;
    /** The events since the last call. */
    take(): ImageEvent[];
    begin(picture: {
        index: number;
        mediaType?: string;
    }): void;
    /** Adds base64 that decodes on its own to the picture of a slot, and returns its bytes. */
    add(index: number, b64: string): Uint8Array;
    /** Ends the picture that arrives in a slot, if any, and forgets it. */
    close(index: number): Blob | undefined;
    whole(image: GeneratedImage): void;
    text(index: number, text: string): void;
    /** Makes the result of what is whole and of what `data` lists. */
    finish(data: WireData): void;
    /** The pictures that are whole, one for each slot. */
    images(): GeneratedImage[];
    /** Set by the terminal event of a success. */
    result: ImageResult | undefined;
}
/** @param previewIntervalMs the time between two previews of a picture; 0 for none */
export declare function createAnswer(taskId: string, fail: Fail, previewIntervalMs: number): Answer;
