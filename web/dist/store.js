import { ImageStreamError } from './errors.js';
const IDLE = {
    status: 'idle',
    message: '',
    text: '',
    receivedBytes: 0,
    previews: {},
    images: [],
    failed: [],
    resumed: false,
};
/** The time between two updates of the received bytes. */
const PROGRESS_MS = 100;
export function createImageStreamStore(client) {
    let state = IDLE;
    let current;
    let views = 0;
    let progressAt = 0;
    const received = new Map();
    const listeners = new Set();
    const urls = new Set();
    function set(change) {
        state = { ...state, ...change };
        for (const listener of listeners)
            listener();
    }
    function urlOf(blob) {
        const url = URL.createObjectURL(blob);
        urls.add(url);
        return url;
    }
    function revoke(url) {
        if (url && urls.delete(url))
            URL.revokeObjectURL(url);
    }
    function clear() {
        for (const url of urls)
            revoke(url);
        received.clear();
        state = IDLE;
    }
    /** The previews without that of a slot; the view may still load it, so it is revoked later. */
    function withoutPreview(index) {
        const { [index]: old, ...previews } = state.previews;
        if (old)
            setTimeout(() => revoke(old), 1000);
        return previews;
    }
    function apply(event) {
        switch (event.type) {
            case 'connecting':
                return set({ status: 'connecting' });
            case 'resumed':
                return set({ status: 'streaming', resumed: true });
            case 'start':
            case 'process':
                return set({ status: 'streaming', message: event.message ?? '' });
            case 'text':
                return set({ status: 'streaming', text: state.text + event.text });
            case 'image-start':
                received.delete(event.index);
                return set({ status: 'streaming' });
            case 'progress': {
                received.set(event.index, event.receivedBytes);
                if (Date.now() - progressAt < PROGRESS_MS)
                    return;
                progressAt = Date.now();
                return set({ receivedBytes: [...received.values()].reduce((sum, bytes) => sum + bytes, 0) });
            }
            case 'preview':
                return set({ previews: { ...withoutPreview(event.index), [event.index]: urlOf(event.blob) } });
            case 'image': {
                const { image, index } = event;
                const others = state.images.filter((shown) => shown.index !== index);
                revoke(state.images.find((shown) => shown.index === index)?.src);
                const shown = { ...image, src: image.blob ? urlOf(image.blob) : image.url };
                return set({
                    previews: withoutPreview(index),
                    images: [...others, shown].sort((a, b) => a.index - b.index),
                });
            }
            case 'done': {
                const { failed, text, resumed, images } = event.result;
                const final = state.images.filter((shown) => images.some(({ index }) => index === shown.index));
                return set({ status: 'completed', failed, text, resumed, previews: {}, images: final });
            }
        }
    }
    function start(begin, options = {}) {
        if (current && !current.isCancelled)
            return current.ended;
        const stop = new AbortController();
        options.signal?.addEventListener('abort', () => stop.abort(), { signal: stop.signal });
        if (options.signal?.aborted)
            stop.abort();
        const run = begin({ ...options, signal: stop.signal });
        const mine = { run, stop, ended: read() };
        current = mine;
        return mine.ended;
        async function read() {
            clear();
            set({ status: 'connecting', taskId: run.taskId });
            const isCurrent = () => current?.run === run;
            try {
                for await (const event of run)
                    if (isCurrent())
                        apply(event);
                return await run.result();
            }
            catch (error) {
                if (!(error instanceof ImageStreamError))
                    throw error;
                if (isCurrent())
                    set(error.code === 'aborted' ? { status: 'idle', error } : { status: 'error', error });
                return undefined;
            }
            finally {
                if (isCurrent())
                    current = undefined;
            }
        }
    }
    function stopReading() {
        current?.stop.abort();
        current = undefined;
    }
    return {
        get: () => state,
        subscribe(listener) {
            listeners.add(listener);
            return () => void listeners.delete(listener);
        },
        attach() {
            views++;
            // React's StrictMode takes a view away and puts it back in the same task.
            return () => setTimeout(() => --views || (stopReading(), clear()));
        },
        generate: (request, options) => start((all) => client.generate(request, all), options),
        faceflip: (request, options) => start((all) => client.faceflip(request, all), options),
        resume: (taskId, options) => start((all) => client.resume(taskId, all), options),
        cancel() {
            if (!current)
                return;
            current.isCancelled = true;
            void current.run.cancel();
        },
        reset() {
            stopReading();
            clear();
            set({});
        },
    };
}
