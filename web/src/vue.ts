import { onScopeDispose, shallowRef, type ShallowRef } from 'vue';
import type { ImageClient } from './client.js';
import { createImageStreamStore, type ImageStreamActions, type ImageStreamState } from './store.js';

export type { ImageStreamActions, ImageStreamState, ShownImage } from './store.js';

/**
 * A run and what to show of it. When the component leaves, reading stops and object URLs are revoked; the server is not
 * asked to stop.
 */
export function useImageStream(client: ImageClient): { state: Readonly<ShallowRef<ImageStreamState>> } & ImageStreamActions {
  const store = createImageStreamStore(client);
  const state = shallowRef(store.get());
  store.subscribe(() => (state.value = store.get()));
  onScopeDispose(store.attach());
  const { generate, faceflip, resume, cancel, reset } = store;
  return { state, generate, faceflip, resume, cancel, reset };
}
