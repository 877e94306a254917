import { type Generation, type GenerationPage } from './events.js';
import { type RequestSettings } from './request.js';
/** The log of the caller's tasks. */
export interface Generations {
    generations(query?: {
        limit?: number;
        cursor?: string;
        signal?: AbortSignal;
    }): Promise<GenerationPage>;
    /** Throws `task_not_found` for an unknown task. */
    generation(taskId: string, signal?: AbortSignal): Promise<Generation>;
    /** Asks a running task to stop. */
    cancel(taskId: string): Promise<Generation>;
    /** Erases the kept pictures of a task that has ended. */
    erasePictures(taskId: string): Promise<void>;
}
/** @param address of `GET /api/generations`; throws if there is none */
export declare function createGenerations(settings: RequestSettings, address: () => string): Generations;
