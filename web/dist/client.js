import { failIn, preferredLanguage } from './errors.js';
import { createGenerations } from './generations.js';
import { defined } from './request.js';
import { createRun } from './run.js';
const ROUTES = {
    generate: '/api/generate-stream',
    image: '/api/generate-image',
    faceflip: '/api/v1/faceflip/generate/stream',
    generations: '/api/generations',
};
/** A client of the image gateway. It keeps no state between runs. */
export function createImageClient(options = {}) {
    const { url = '', retry = {}, language, maxBodyBytes = 6 << 20 } = options;
    const fail = failIn(language ?? preferredLanguage());
    const settings = {
        tokenTimeoutMs: 10_000,
        idleTimeoutMs: 60_000,
        totalTimeoutMs: 660_000,
        previewIntervalMs: 400,
        fetch: (...request) => fetch(...request),
        ...defined(options),
        headers: { ...(language && { 'Accept-Language': language }), ...options.headers },
        retry: { retries: retry === false ? 0 : 2, baseMs: 500, maxMs: 8000, maxRetryAfterMs: 60_000, ...defined(retry) },
        fail,
    };
    function address(route) {
        const found = typeof url === 'string' ? url.replace(/\/$/, '') + ROUTES[route] : url[route];
        if (!found)
            throw new TypeError(`url.${route} is missing`);
        return found;
    }
    const generations = createGenerations(settings, () => address('generations'));
    const log = typeof url === 'string' || url.generations ? generations : undefined;
    function start(route, taskId, members, options) {
        const url = address(route);
        const headers = {
            'Content-Type': 'application/json',
            Accept: 'text/event-stream, application/problem+json',
            ...(route !== 'faceflip' && { 'Idempotency-Key': taskId }),
        };
        async function body() {
            const text = JSON.stringify(await members());
            if (new Blob([text]).size > maxBodyBytes)
                throw fail('payload_too_large');
            return text;
        }
        return createRun(settings, log, taskId, { url, headers, body }, options);
    }
    function generate(route, request, options) {
        const { images, aspectRatio, format = 'events', ...rest } = request;
        const members = async () => {
            // What a paid answer needs is loaded before it.
            if (route === 'image' || format === 'chat')
                await import('./chat.js');
            return { ...rest, image_inputs: images && (await toInputs(images)), aspect_ratio: aspectRatio, format };
        };
        return start(route, options.taskId ?? newTaskId(), members, options);
    }
    return {
        ...generations,
        generate: (request, options = {}) => generate('generate', request, options),
        // Nothing is sent before its whole answer, so silence is no failure.
        generateImage: (request, options = {}) => generate('image', request, { ...options, idleTimeoutMs: Infinity }),
        faceflip({ urls, prompt, taskId }, options = {}) {
            const task_id = taskId ?? options.taskId ?? newTaskId();
            const members = async () => ({ urls: await toInputs(urls), task_id, prompt });
            return start('faceflip', task_id, members, options);
        },
        resume: (taskId, options = {}) => createRun(settings, log, taskId, undefined, options),
        blob: async (image, options) => (await import('./blobs.js')).download(image, settings, log, options),
    };
}
/** The bytes of `blob` as a `data:` URL, with the media type found in them. */
export async function toDataUrl(blob) {
    return (await import('./blobs.js')).toDataUrl(blob);
}
const toInputs = async (photos) => (await import('./blobs.js')).toInputs(photos);
/** 128 random bits. `crypto.randomUUID` is missing on a page without TLS. */
const newTaskId = () => crypto.getRandomValues(new Uint32Array(4)).join('-');
