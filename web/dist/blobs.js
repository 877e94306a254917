/** The bytes of a picture, drawn anew if there are options. */
export async function download(image, settings, log, options) {
    const blob = image.blob ?? (await fetchPicture(image, settings, log));
    return options ? (await import('./visible-label.js')).redraw(blob, options) : blob;
}
/** If the link has expired, the log is asked for a new one, once. The token is not sent. */
async function fetchPicture(image, settings, log) {
    const { fail } = settings;
    let response = await settings.fetch(image.url);
    if (response.status === 403 && log) {
        const { pictures } = await log.generation(image.taskId);
        const fresh = pictures?.find(({ index }) => index === image.index);
        if (fresh)
            response = await settings.fetch(fresh.url);
    }
    if (!response.ok)
        throw fail(`http_${response.status}`, { status: response.status });
    const blob = await response.blob();
    if (image.bytes !== undefined && blob.size !== image.bytes)
        throw fail('interrupted');
    return blob;
}
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
