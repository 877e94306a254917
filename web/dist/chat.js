import { sniff } from './blobs.js';
import { createContentReader } from './content.js';
import { fromProblem } from './errors.js';
import { parseWire } from './events.js';
/** A reader that gives what it finds to `answer`. Its module is loaded when an answer needs it. */
export function createChatReader(answer, taskId, fail) {
    const choices = new Map();
    const marks = new Set();
    let usage;
    let next = 0;
    let refused = false;
    function readChunk(text, isError) {
        const chunk = parseWire(text);
        if (chunk.error || isError || chunk.object === 'error')
            throw fromProblem(chunk, 'upstream_error', fail, {});
        if (chunk.usage)
            usage = toUsage(chunk.usage);
        for (const { index = 0, delta, message, finishReason } of chunk.choices ?? []) {
            let choice = choices.get(index);
            if (!choice)
                choices.set(index, (choice = newChoice()));
            if (finishReason === 'content_filter')
                refused = true;
            const { content, images } = delta ?? message ?? {};
            for (const part of [content, images].flat())
                readPart(choice, part);
        }
    }
    function readPart(choice, part) {
        if (typeof part === 'string')
            return readParts(choice, choice.reader.push(part));
        const { text, imageUrl } = Object(part);
        if (typeof text === 'string')
            readParts(choice, choice.reader.push(text));
        const url = typeof imageUrl === 'object' ? imageUrl.url : imageUrl;
        if (typeof url === 'string')
            readParts(newChoice(), createContentReader().push(`![](${url})`));
    }
    function readParts(choice, parts) {
        for (const part of parts) {
            if (part.type === 'text')
                answer.text(choice.index, part.text);
            else if (part.type === 'link')
                link(part.url);
            else if (part.type === 'open')
                begin(choice, part.mediaType);
            else if (!choice.isOpen)
                continue;
            else if (part.type === 'b64')
                add(choice, part.b64);
            else
                close(choice);
        }
    }
    function link(url) {
        if (url.startsWith('https:'))
            answer.whole({ taskId, index: next++, url });
    }
    function begin(choice, mediaType) {
        Object.assign(choice, newChoice(), { reader: choice.reader, index: next++, isOpen: true });
        answer.begin({ index: choice.index, mediaType });
    }
    function add(choice, payload) {
        const text = choice.carry + payload.replace(/\s/g, '').replace(/-/g, '+').replace(/_/g, '/');
        const b64 = text.slice(0, text.length & ~3);
        choice.carry = text.slice(b64.length);
        let bytes;
        try {
            bytes = answer.add(choice.index, b64);
        }
        catch {
            return drop(choice);
        }
        const [length, begin, end] = choice.mark;
        choice.mark = [length + b64.length, (begin + b64).slice(0, 99), (end + b64).slice(-99)];
        if (choice.head.length < 12)
            choice.head = join(choice.head, bytes.subarray(0, 12));
        choice.tail = join(choice.tail, bytes.subarray(-64)).slice(-64);
    }
    // A chat answer has no lengths and no hashes: the end marker shows that a picture is whole.
    function close(choice) {
        if (choice.carry)
            add(choice, '===='.slice(choice.carry.length));
        if (!choice.isOpen)
            return;
        const { index, mark, head } = choice;
        const blob = answer.close(index);
        const mediaType = sniff(head);
        if (!blob || !mediaType || marks.has(`${mark}`) || !isWhole(mediaType, head, choice.tail, blob.size)) {
            return drop(choice);
        }
        marks.add(`${mark}`);
        choice.isOpen = false;
        answer.whole({ taskId, index, mediaType, bytes: blob.size, blob: blob.slice(0, blob.size, mediaType) });
    }
    function drop(choice) {
        choice.isOpen = false;
        answer.close(choice.index);
        if (choice.index === next - 1)
            next--;
    }
    function finish() {
        for (const choice of choices.values())
            readParts(choice, choice.reader.finish());
        const images = answer.images();
        if (refused && !images.length)
            throw fail('content_rejected');
        answer.finish({ images, ...(usage && { usage }) });
    }
    function readOneShot({ data, ...rest }) {
        data.forEach(({ b64Json, ...entry }, position) => {
            const index = entry.index ?? position;
            if (b64Json === undefined)
                return answer.whole({ ...entry, taskId, index });
            answer.begin({ ...entry, index });
            const mediaType = sniff(answer.add(index, b64Json)) ?? '';
            const blob = answer.close(index);
            const bytes = blob.size;
            answer.whole({ ...entry, taskId, index, mediaType, bytes, blob: blob.slice(0, bytes, mediaType) });
        });
        answer.finish({ ...rest, images: answer.images() });
    }
    return {
        read({ event, data }) {
            if (data.trim() === '[DONE]')
                return finish();
            try {
                readChunk(data, event === 'error');
            }
            catch (error) {
                // Some relays put no blank line between two chunks.
                if (!(error instanceof SyntaxError) || !data.includes('\n'))
                    throw error;
                for (const line of data.split('\n'))
                    this.read({ event, data: line });
            }
        },
        readJson(text) {
            const body = parseWire(text);
            if (Array.isArray(body.data))
                return readOneShot(body);
            readChunk(text, false);
            finish();
        },
    };
}
/** The counts of a chat answer under the names of typed events. */
function toUsage({ promptTokens, completionTokens, ...others }) {
    return {
        ...(promptTokens !== undefined && { inputTokens: promptTokens }),
        ...(completionTokens !== undefined && { outputTokens: completionTokens }),
        ...others,
    };
}
function newChoice() {
    return {
        reader: createContentReader(),
        index: 0,
        isOpen: false,
        carry: '',
        head: new Uint8Array(),
        tail: new Uint8Array(),
        mark: [0, '', ''],
    };
}
function join(a, b) {
    const both = new Uint8Array(a.length + b.length);
    both.set(a);
    both.set(b, a.length);
    return both;
}
function isWhole(mediaType, head, tail, length) {
    const end = String.fromCharCode(...tail);
    if (mediaType === 'image/png')
        return end.includes('IEND');
    if (mediaType === 'image/jpeg')
        return end.includes('\xff\xd9');
    return new DataView(head.buffer).getUint32(4, true) + 8 <= length;
}
