// Every repetition is bounded and no two of them overlap for long: hostile text takes linear time.
const DATA = String.raw `data:\s{0,8}(image\/[\w.+-]{1,40})[^,()]{0,64};\s{0,8}base64\s{0,8},`;
const HEADERS = {
    markdown: new RegExp(String.raw `^!\[[^\]]{0,256}\]\(\s{0,8}<?${DATA}`, 'i'),
    bare: new RegExp(`^${DATA}`, 'i'),
};
const LINK = /^!\[[^\]]{0,256}\]\(\s{0,8}<?(https?:[^\s()<>]{1,4096})([\s>][^()]{0,256})?\)/i;
/** Where a header begins, or may begin with the next delta. */
const START = /!\[|data:\s{0,8}image\/|(!|d(a(t(a(:\s{0,8}(i(m(a(ge?)?)?)?)?)?)?)?)?)$/i;
/** What begins as a header and is none, in a prefix of bounded length. */
const MISS = /^!\[([^\]]{257}|[^\]]{0,256}\]([^(]|\([^()]{0,4400}[()]|\([^()]{4400}))|^data:([^,]{128}|[^,]{0,128},)/i;
/** The bare base64 of a PNG, JPEG or WebP file, and what may become it. */
const BASE64 = /^\s*(iVBORw0KGgo|\/9j\/|UklGR)[\w+/-]{52}/;
const MAYBE_BASE64 = /^\s*([iU/][\w+/-]{0,63})?$/;
/** A reader of Markdown pictures, data URLs and bare base64, cut anywhere. It looks at no payload twice. */
export function createContentReader() {
    let held = '';
    let mode = 'text';
    let atStart = true;
    let out = [];
    function open(next, mediaType, headerLength) {
        out.push({ type: 'open', mediaType: mediaType.toLowerCase() });
        held = held.slice(headerLength).trimStart();
        mode = next;
    }
    function text(length) {
        if (length)
            out.push({ type: 'text', text: held.slice(0, length) });
        if (held.slice(0, length).trim())
            atStart = false;
        held = held.slice(length);
    }
    // Each reads one part off `held` and returns false if that takes more input.
    function readText(ended) {
        if (atStart) {
            if (BASE64.test(held)) {
                open('bare', '', 0);
                return true;
            }
            if (!ended && MAYBE_BASE64.test(held))
                return false;
        }
        const start = held.search(START);
        text(start < 0 ? held.length : start);
        if (!held)
            return false;
        for (const kind of ['markdown', 'bare']) {
            const header = HEADERS[kind].exec(held);
            if (header) {
                open(kind, header[1] ?? '', header[0].length);
                return true;
            }
        }
        const link = LINK.exec(held);
        if (link) {
            out.push({ type: 'link', url: link[1] ?? '' });
            held = held.slice(link[0].length);
        }
        else if (ended || MISS.test(held)) {
            text(1);
        }
        else {
            return false;
        }
        return true;
    }
    function readPayload() {
        const end = held.search(mode === 'markdown' ? /[^\w+/=\s-]/ : /[^\w+/=-]/);
        const b64 = end < 0 ? held : held.slice(0, end);
        if (b64)
            out.push({ type: 'b64', b64 });
        held = held.slice(b64.length);
        if (end < 0)
            return false;
        out.push({ type: 'close', closed: true });
        mode = mode === 'markdown' ? 'title' : 'text';
        return true;
    }
    function skipTitle() {
        const end = held.indexOf(')');
        held = end < 0 ? '' : held.slice(end + 1);
        if (end >= 0)
            mode = 'text';
        return end >= 0;
    }
    function read(delta, ended) {
        out = [];
        held += delta;
        while (mode === 'text' ? readText(ended) : mode === 'title' ? skipTitle() : readPayload())
            ;
        return out;
    }
    return {
        push: (delta) => read(delta, false),
        finish() {
            const parts = read('', true);
            if (mode === 'markdown' || mode === 'bare')
                parts.push({ type: 'close', closed: false });
            mode = 'text';
            return parts;
        },
    };
}
