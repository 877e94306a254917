import { bounded, childOf } from './request.js';
/** The bytes of a picture. */
export async function download(image, settings, log, { signal } = {}) {
    return image.blob ?? fetchPicture(image, settings, log, signal);
}
/**
 * If the link has expired, the log is asked for a new one, once. The token is not sent, and the host may be silent as long
 * as a stream.
 */
async function fetchPicture(image, { fetch, fail, idleTimeoutMs }, log, outer) {
    const own = childOf(outer);
    const { signal } = own;
    const waiting = (work) => bounded(work, signal, fail, idleTimeoutMs);
    const get = (url) => waiting((async () => fetch(url, { signal }))());
    try {
        let response = await get(image.url);
        if (response.status === 403 && log) {
            const { pictures } = await log.generation(image.taskId, signal);
            const fresh = pictures?.find(({ index }) => index === image.index)?.url;
            if (fresh)
                response = await get(fresh);
        }
        const { status, headers, body } = response;
        if (!response.ok || !body)
            throw fail(`http_${status}`, { status });
        const parts = [];
        const reader = body.getReader();
        for (let read; !(read = await waiting(reader.read())).done;)
            parts.push(read.value);
        const blob = new Blob(parts, { type: headers.get('content-type') ?? '' });
        if (image.bytes !== undefined && blob.size !== image.bytes)
            throw fail('interrupted');
        return blob;
    }
    finally {
        own.abort();
    }
}
/** Links and data URLs as they are, files as data URLs. */
export const toInputs = (photos) => Promise.all(photos.map((photo) => (typeof photo === 'string' ? photo : toDataUrl(photo))));
/** The bytes of `blob` as a `data:` URL, with the media type found in them. */
export async function toDataUrl(blob) {
    const type = sniff(new Uint8Array(await blob.slice(0, 12).arrayBuffer())) ?? (blob.type || 'application/octet-stream');
    if (typeof FileReader === 'undefined') {
        return `data:${type};base64,${encodeBase64(new Uint8Array(await blob.arrayBuffer()))}`;
    }
    return new Promise((resolve, reject) => {
        const reader = new FileReader();
        reader.onload = () => resolve(reader.result);
        reader.onerror = () => reject(reader.error);
        reader.readAsDataURL(blob.slice(0, blob.size, type));
    });
}
// In pieces that no engine's argument limit refuses. A browser encodes off the main thread, with FileReader.
function encodeBase64(bytes) {
    let text = '';
    for (let from = 0; from < bytes.length; from += 0x2000) {
        text += String.fromCharCode(...bytes.subarray(from, from + 0x2000));
    }
    return btoa(text);
}
/** The media type by the first bytes: PNG, JPEG or WebP. */
export function sniff(head) {
    const text = String.fromCharCode(...head.subarray(0, 12));
    if (text.startsWith('\x89PNG\r\n'))
        return 'image/png';
    if (text.startsWith('\xff\xd8\xff'))
        return 'image/jpeg';
    return /^RIFF[^]{4}WEBP/.test(text) ? 'image/webp' : undefined;
}
