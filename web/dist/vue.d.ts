import { type ShallowRef } from 'vue';
import type { ImageClient } from './client.js';
import { type ImageStreamActions, type ImageStreamState } from './store.js';
export type { ImageStreamActions, ImageStreamState, ShownImage } from './store.js';
/**
 * A run and what to show of it. When the component leaves, reading stops and object URLs are revoked; the server is not
 * asked to stop.
 */
export declare function useImageStream(client: ImageClient): {
    state: Readonly<ShallowRef<ImageStreamState>>;
} & ImageStreamActions;
