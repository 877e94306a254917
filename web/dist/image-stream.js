import { createImageClient, toDataUrl } from './client.js';
import { preparePhotos } from './photos.js';
/** About 4.4 MB of pictures, as base64: what fits one request. */
const MAX_INPUT_CHARS = 5_800_000;
/**
 * The functions of the documented `@/lib/image-stream`. Failures reject with an `ImageStreamError`, after
 * `onStatus('error')`.
 */
export function createImageStream(options = {}) {
    const isClient = 'generate' in options;
    const client = isClient ? options : createImageClient(options);
    const language = isClient ? undefined : options.language;
    async function start(params, route) {
        const { prompt, imageInputs = [], n, model, aspectRatio, multi, signal, taskId } = params;
        const images = await fit(imageInputs, { ...(language && { language }), ...(signal && { signal }) });
        const request = {
            prompt,
            n: (multi && n) || 1,
            ...(images.length && { images }),
            ...(model && { model }),
            ...(aspectRatio && { aspectRatio }),
        };
        return client[route](request, { ...(signal && { signal }), ...(taskId && { taskId }) });
    }
    async function toPicture(image) {
        const { url, mediaType = '' } = image;
        let dataUrl;
        try {
            dataUrl = await toDataUrl(await client.blob(image));
        }
        catch (error) {
            if (!url)
                throw error;
            return { dataUrl: url, base64: '', mediaType, url };
        }
        const comma = dataUrl.indexOf(',');
        const type = dataUrl.slice('data:'.length, dataUrl.indexOf(';'));
        return { dataUrl, base64: dataUrl.slice(comma + 1), mediaType: type, ...(url && { url }) };
    }
    const toPictures = ({ images }) => Promise.all(images.map(toPicture));
    async function generateImageStream({ onProgress, onStatus, ...params }) {
        const content = createContent((text) => guarded(onProgress, text));
        let status;
        function setStatus(next) {
            if (status !== next)
                guarded(onStatus, next);
            status = next;
        }
        setStatus('connecting');
        try {
            const run = await start(params, 'generate');
            for await (const event of run) {
                if (event.type === 'connecting')
                    content.clear();
                if (event.type === 'resumed')
                    content.resume();
                if (!/connecting|retry/.test(event.type))
                    setStatus('streaming');
                if (event.type === 'text')
                    content.text(event.text);
                else if (event.type === 'image-start')
                    content.begin(event.index, event.mediaType, event.draft);
                else if (event.type === 'progress')
                    content.add(event.index, event.b64);
                else if (event.type === 'image')
                    content.whole(event.image);
            }
            setStatus('parsing');
            const images = await toPictures(await run.result());
            setStatus('completed');
            return { content: content.all(), imageData: images[0] ?? null, images, taskId: run.taskId };
        }
        catch (error) {
            setStatus('error');
            throw error;
        }
    }
    async function generateImage(params) {
        const run = await start(params, 'generateImage');
        const images = await toPictures(await run.result());
        const first = images[0];
        return { imageUrl: first?.url ?? first?.dataUrl ?? '', imageData: first ?? null, images, taskId: run.taskId };
    }
    return { generateImageStream, generateImage, client };
}
/**
 * The content as a chat answer would write it. One picture grows at its end; others, and text, wait until it is whole, so
 * that every picture stands in one piece. Drafts are left out.
 */
function createContent(onGrow) {
    let content = '';
    let text = '';
    const waiting = new Map();
    /** The picture that grows, and where in the content it begins. */
    let growing;
    function grow(more) {
        content += more;
        onGrow(content);
    }
    /** Ends the picture that grows, and writes what has waited for it. */
    function end(close) {
        growing = undefined;
        const whole = [...waiting].filter(([, picture]) => picture.endsWith(')'));
        for (const [index] of whole)
            waiting.delete(index);
        const more = [close, text, ...whole.map(([, picture]) => picture)].join('');
        text = '';
        if (more)
            grow(more);
    }
    return {
        all: () => content,
        clear() {
            content = text = '';
            waiting.clear();
            growing = undefined;
        },
        /** The stream has broken: what is not whole is taken away, and the log has links in its place. */
        resume() {
            if (growing)
                content = content.slice(0, growing.from);
            end('');
            waiting.clear();
        },
        text(more) {
            if (growing)
                text += more;
            else
                grow(more);
        },
        begin(index, mediaType, draft) {
            if (growing?.index === index)
                end(')');
            waiting.delete(index);
            if (draft)
                return;
            const head = `![image](data:${mediaType ?? 'image/png'};base64,`;
            if (growing)
                return void waiting.set(index, head);
            growing = { index, from: content.length };
            grow(head);
        },
        add(index, b64) {
            if (growing?.index === index)
                grow(b64);
            else if (waiting.has(index))
                waiting.set(index, waiting.get(index) + b64);
        },
        whole({ index, url, draft }) {
            if (draft)
                return;
            if (growing?.index === index)
                return end(')');
            const begun = waiting.get(index);
            if (begun)
                waiting.set(index, `${begun})`);
            else if (url)
                waiting.set(index, `![image](${url.replaceAll('(', '%28').replaceAll(')', '%29')})`);
            if (!growing)
                end('');
        },
    };
}
/** A callback's own failure is reported, and does not end the stream. */
function guarded(callback, value) {
    try {
        callback?.(value);
    }
    catch (error) {
        console.error(error);
    }
}
/** Photos that fit one request. Without `OffscreenCanvas`, as on a server, they stay as they are. */
async function fit(photos, options) {
    const chars = photos.reduce((sum, photo) => sum + (typeof photo === 'string' ? photo.length : 0), 0);
    const isLarge = chars > MAX_INPUT_CHARS;
    const changed = photos.filter((photo) => typeof photo !== 'string' || (isLarge && photo.startsWith('data:')));
    if (!changed.length || typeof OffscreenCanvas === 'undefined')
        return [...photos];
    const prepared = await preparePhotos(changed, options);
    const fitted = new Map(changed.map((photo, index) => [photo, prepared[index].dataUrl]));
    return photos.map((photo) => fitted.get(photo) ?? photo);
}
