import type { ImageClient } from './client.js';
import { type ImageStreamActions, type ImageStreamState } from './store.js';
export type { ImageStreamActions, ImageStreamState, ShownImage } from './store.js';
/**
 * A run and what to show of it. Call `generate` in an event handler. When the component leaves, reading stops and object
 * URLs are revoked; the server is not asked to stop.
 * @param client from `createImageClient`, made once outside of the component
 */
export declare function useImageStream(client: ImageClient): ImageStreamState & ImageStreamActions;
