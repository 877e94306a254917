import { decodeBase64 } from './base64.js';
import { fromProblem } from './errors.js';
import { parseWire } from './events.js';
/** @param previewIntervalMs the time between two previews of a picture; 0 for none */
export function createAnswer(taskId, fail, previewIntervalMs) {
    const open = new Map();
    const finals = new Map();
    const drafts = new Map();
    let allText = '';
    const out = [];
    function readTyped(name, data) {
        const index = data.index;
        switch (name) {
            case 'error':
                throw fromProblem(data, 'upstream_error', fail, {});
            case 'start':
            case 'process':
                out.push({ ...data, type: name });
                break;
            case 'text':
                answer.text(index, data.text ?? '');
                break;
            case 'image.start':
                answer.begin({ ...data, index });
                break;
            case 'image.delta':
                answer.add(index, data.b64);
                break;
            case 'image.done': {
                const blob = answer.close(index);
                if (!data.url && blob?.size !== (data.bytes ?? NaN))
                    throw fail('protocol');
                answer.whole({ ...data, taskId, index, ...(!data.url && { blob: blob }) });
                break;
            }
            case 'image.stored':
                Object.assign(finals.get(index) ?? {}, data);
                out.push({ ...data, type: 'stored' });
                break;
            case 'done':
                answer.finish(data);
        }
    }
    const answer = {
        result: undefined,
        read({ event, data }) {
            const value = parseWire(data);
            if (value.event && value.data)
                readTyped(value.event, value.data);
            else
                readTyped(value.error ? 'error' : event, value);
        },
        take: () => out.splice(0),
        begin(picture) {
            open.set(picture.index, { parts: [], bytes: 0, mediaType: picture.mediaType, previewedAt: Date.now() });
            out.push({ draft: false, ...picture, type: 'image-start' });
        },
        add(index, b64) {
            const picture = open.get(index);
            if (!picture)
                throw fail('protocol');
            const bytes = decodeBase64(b64);
            picture.parts.push(bytes);
            const receivedBytes = (picture.bytes += bytes.length);
            out.push({ type: 'progress', index, receivedBytes, b64 });
            if (previewIntervalMs && Date.now() - picture.previewedAt >= previewIntervalMs) {
                const blob = toBlob(picture);
                picture.parts = [blob];
                picture.previewedAt = Date.now();
                out.push({ type: 'preview', index, blob, receivedBytes });
            }
            return bytes;
        },
        close(index) {
            const picture = open.get(index);
            open.delete(index);
            return picture && toBlob(picture);
        },
        whole(image) {
            (image.draft ? drafts : finals).set(image.index, image);
            out.push({ type: 'image', index: image.index, image });
        },
        text(index, text) {
            allText += text;
            out.push({ type: 'text', index, text });
        },
        // `images` has the final picture of each slot. The documented form of faceflip has `generated_images` alone.
        finish({ images, generatedImages, ...rest }) {
            const final = (images ?? generatedImages ?? []).map((entry, position) => {
                const index = entry.index ?? position;
                const known = [finals.get(index), drafts.get(index)].find((image) => image && (!entry.sha256 || image.sha256 === entry.sha256));
                const image = { ...known, ...entry, taskId, index };
                if (!image.blob && !image.url)
                    throw fail('protocol');
                if (!known)
                    out.push({ type: 'image', index, image });
                return image;
            });
            if (!final.length)
                throw fail('no_image');
            answer.result = { failed: [], ...rest, taskId, images: final, text: allText, resumed: false };
        },
        images: () => [...new Map([...drafts, ...finals]).values()],
    };
    return answer;
}
function toBlob({ parts, mediaType = '' }) {
    return new Blob(parts, { type: mediaType });
}
