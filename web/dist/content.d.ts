/** What a text that a model writes consists of. */
export type ContentPart = {
    type: 'text';
    text: string;
} | {
    type: 'link';
    url: string;
}
/** A data URL begins; `b64` pieces follow, then its end. */
 | {
    type: 'open';
    mediaType: string;
} | {
    type: 'b64';
    b64: string;
}
/** `closed` is false if the text ended within the data URL. */
 | {
    type: 'close';
    closed: boolean;
};
/** Finds the pictures of a text that arrives in deltas. */
export interface ContentReader {
    push(delta: string): ContentPart[];
    finish(): ContentPart[];
}
/** A reader of Markdown pictures, data URLs and bare base64, cut anywhere. It looks at no payload twice. */
export declare function createContentReader(): ContentReader;
