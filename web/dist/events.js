/** Parses JSON whose member names become those of TypeScript: `url_expires` is `urlExpires`. */
export function parseWire(json) {
    // Within a string a quotation mark is escaped, so only a name is followed by `":`.
    return JSON.parse(json.replace(/"\w+":/g, (name) => name.replace(/_(\w)/g, (_, letter) => letter.toUpperCase())));
}
