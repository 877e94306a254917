import { shrink } from './shrink.js';
/** What the worker is asked for, and answers: the photo, or the message of the failure. */
export type ShrinkRequest = Parameters<typeof shrink>;
export type ShrinkReply = Awaited<ReturnType<typeof shrink>> | string;
