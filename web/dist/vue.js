import { onScopeDispose, shallowRef } from 'vue';
import { createImageStreamStore } from './store.js';
/**
 * A run and what to show of it. When the component leaves, reading stops and object URLs are revoked; the server is not
 * asked to stop.
 */
export function useImageStream(client) {
    const store = createImageStreamStore(client);
    const state = shallowRef(store.get());
    store.subscribe(() => (state.value = store.get()));
    onScopeDispose(store.attach());
    const { generate, faceflip, resume, cancel, reset } = store;
    return { state, generate, faceflip, resume, cancel, reset };
}
