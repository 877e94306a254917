/** The bytes of whole base64. Throws if it is not base64. */
export function decodeBase64(text) {
    const native = Uint8Array;
    return native.fromBase64?.(text) ?? Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
}
