import type { Language } from './errors.js';
/** How a picture is drawn anew. */
export interface RedrawOptions {
    /** The language of the visible label: "AI生成", in English with "AI-generated" below. Without it none is drawn. */
    visibleLabel?: Language;
    /** Default: JPEG stays JPEG, everything else becomes PNG. */
    type?: 'image/png' | 'image/jpeg';
}
/**
 * Draws a picture anew, with the visible label in its lower right corner. The implicit label of its bytes, which a canvas
 * drops, is written again.
 */
export declare function redraw(picture: Blob, { visibleLabel, type }: RedrawOptions): Promise<Blob>;
