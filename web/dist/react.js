import { useEffect, useMemo, useSyncExternalStore } from 'react';
import { createImageStreamStore } from './store.js';
/**
 * A run and what to show of it. Call `generate` in an event handler. When the component leaves, reading stops and object
 * URLs are revoked; the server is not asked to stop.
 * @param client from `createImageClient`, made once outside of the component
 */
export function useImageStream(client) {
    const store = useMemo(() => createImageStreamStore(client), [client]);
    useEffect(() => store.attach(), [store]);
    const state = useSyncExternalStore(store.subscribe, store.get, store.get);
    const { generate, faceflip, resume, cancel, reset } = store;
    return { ...state, generate, faceflip, resume, cancel, reset };
}
