/** The bytes of whole base64. Throws if it is not base64. */
export declare function decodeBase64(text: string): Uint8Array<ArrayBuffer>;
