/** GB 45438-2025 asks for the Chinese words, also in a picture of an English page. */
const LABEL = 'AI生成';
const TRANSLATION = 'AI-generated';
const SOURCE_TYPE = /<Iptc4xmpExt:DigitalSourceType>[^<]*<\/Iptc4xmpExt:DigitalSourceType>/;
/** The height of a capital letter, as a part of the shorter side. GB 45438-2025 asks for 5 %. */
const HEIGHT = 0.052;
/**
 * Draws a picture anew, with the visible label in its lower right corner. The implicit label of its bytes, which a canvas
 * drops, is written again.
 */
export async function redraw(picture, { visibleLabel, type }) {
    const bitmap = await createImageBitmap(picture);
    const canvas = Object.assign(document.createElement('canvas'), { width: bitmap.width, height: bitmap.height });
    const context = canvas.getContext('2d');
    context.drawImage(bitmap, 0, 0);
    bitmap.close();
    if (visibleLabel)
        write(context, visibleLabel === 'en');
    const wanted = type ?? (picture.type === 'image/jpeg' ? picture.type : 'image/png');
    const drawn = await new Promise((resolve) => canvas.toBlob(resolve, wanted, 0.95));
    if (!drawn)
        throw new Error('the browser cannot draw a picture of this size');
    const text = new TextDecoder('latin1').decode(await picture.arrayBuffer());
    const json = implicitLabel(text);
    return json ? insert(drawn, json, SOURCE_TYPE.exec(text)?.[0] ?? '') : drawn;
}
function write(context, isTranslated) {
    const { width, height } = context.canvas;
    const font = (pixels) => (context.font = `600 ${pixels}px system-ui, sans-serif`);
    font(100);
    const size = Math.ceil((HEIGHT * Math.min(width, height) * 100) / context.measureText('A').actualBoundingBoxAscent);
    context.textAlign = 'right';
    context.lineJoin = 'round';
    context.lineWidth = size / 6;
    context.strokeStyle = 'rgb(0 0 0 / .6)';
    context.fillStyle = '#fff';
    const small = size * 0.6;
    const line = (text, pixels, y) => {
        font(pixels);
        context.strokeText(text, width - size / 2, y);
        context.fillText(text, width - size / 2, y);
    };
    const bottom = height - size / 2;
    line(LABEL, size, isTranslated ? bottom - small * 1.2 : bottom);
    if (isTranslated)
        line(TRANSLATION, small, bottom);
}
/** The JSON of the implicit label, in whatever form it is in the bytes. */
function implicitLabel(text) {
    const found = /\{(?:"|&quot;)Label(?:"|&quot;):[^{}]*\}/.exec(text)?.[0].replace(/&quot;/g, '"');
    try {
        return found && JSON.stringify(JSON.parse(found));
    }
    catch {
        return undefined;
    }
}
/** The picture with an XMP packet, as the service writes it. */
async function insert(picture, json, type) {
    const ns = 'http://www.w3.org/1999/02/22-rdf-syntax-ns#';
    const value = json.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/"/g, '&quot;');
    const packet = `<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="${ns}">` +
        '<rdf:Description rdf:about="" xmlns:TC260="http://www.tc260.org.cn/ns/AIGC/1.0/" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">' +
        `<TC260:AIGC>${value}</TC260:AIGC>${type}` +
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>';
    const head = new DataView(await picture.slice(0, 6).arrayBuffer());
    let label;
    let at;
    if (picture.type === 'image/jpeg') {
        // Behind the first segment if that is JFIF's.
        at = head.getUint8(3) === 0xe0 ? 4 + head.getUint16(4) : 2;
        label = new TextEncoder().encode(`....http://ns.adobe.com/xap/1.0/\0${packet}`);
        new DataView(label.buffer).setUint32(0, 0xffe10000 + label.length - 2);
    }
    else {
        at = 33;
        label = new TextEncoder().encode(`....iTXtXML:com.adobe.xmp\0\0\0\0\0${packet}....`);
        const view = new DataView(label.buffer);
        view.setUint32(0, label.length - 12);
        view.setUint32(label.length - 4, crc32(label.subarray(4, -4)));
    }
    return new Blob([picture.slice(0, at), label, picture.slice(at)], { type: picture.type });
}
function crc32(bytes) {
    let crc = -1;
    for (const byte of bytes) {
        crc ^= byte;
        for (let bit = 0; bit < 8; bit++)
            crc = (crc >>> 1) ^ (0xedb88320 & -(crc & 1));
    }
    return ~crc >>> 0;
}
