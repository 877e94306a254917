/** The largest canvas of iOS, in pixels. A larger one is black there. */
const MAX_PIXELS = 16_777_216;
/**
 * Draws a photo anew, at most `maxEdge` wide and high and, at lower quality and size, at most `maxBytes` long. EXIF is
 * applied and dropped. PNG stays PNG if it fits, everything else is JPEG.
 * @throws `Error` with the message `heic` or `unreadable`
 */
export async function shrink(photo, maxEdge, maxBytes) {
    const bitmap = await createImageBitmap(photo).catch(async () => {
        const head = await photo.slice(4, 12).text();
        throw new Error(/^ftyp(hei|hev|mif1|msf1)/.test(head) ? 'heic' : 'unreadable');
    });
    let scale = Math.min(1, maxEdge / Math.max(bitmap.width, bitmap.height), Math.sqrt(MAX_PIXELS / (bitmap.width * bitmap.height)));
    let type = photo.type === 'image/png' ? photo.type : 'image/jpeg';
    for (let quality = 0.9;; quality -= 0.1) {
        const width = Math.max(1, Math.floor(bitmap.width * scale));
        const height = Math.max(1, Math.floor(bitmap.height * scale));
        const blob = await draw(bitmap, width, height, type, quality);
        if (blob.size <= maxBytes || width + height < 64) {
            bitmap.close();
            return { blob, width, height };
        }
        if (type === 'image/png') {
            type = 'image/jpeg';
            quality = 1;
        }
        else if (quality < 0.7) {
            scale *= 0.75;
            quality = 1;
        }
    }
}
async function draw(bitmap, width, height, type, quality) {
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext('2d');
    if (type === 'image/jpeg') {
        context.fillStyle = '#fff';
        context.fillRect(0, 0, width, height);
    }
    context.imageSmoothingQuality = 'high';
    context.drawImage(bitmap, 0, 0, width, height);
    return canvas.convertToBlob({ type, quality });
}
