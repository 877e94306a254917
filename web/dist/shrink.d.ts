/** A photo as it is sent. */
export interface ShrunkPhoto {
    blob: Blob;
    width: number;
    height: number;
}
/**
 * Draws a photo anew, at most `maxEdge` wide and high and, at lower quality and size, at most `maxBytes` long. EXIF is
 * applied and dropped. PNG stays PNG if it fits, everything else is JPEG.
 * @throws `Error` with the message `heic` or `unreadable`
 */
export declare function shrink(photo: Blob, maxEdge: number, maxBytes: number): Promise<ShrunkPhoto>;
