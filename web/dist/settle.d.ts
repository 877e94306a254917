import type { Answer } from './answer.js';
import type { Fail, ImageStreamError } from './errors.js';
import type { GeneratedImage, Generation } from './events.js';
/** Makes the result of a task that has ended in the log. Pictures that are nowhere any more are in `failed`. */
export declare function settle(answer: Answer, item: Generation, fail: Fail, lost?: ImageStreamError): void;
/**
 * The picture of each slot: the kept copy, else what `received` has, else ARK's link. The log lists the links without
 * their slots.
 */
export declare function slotsOf({ taskId, images, pictures, urls }: Generation, received: readonly GeneratedImage[]): Map<number, GeneratedImage>;
