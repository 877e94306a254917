/**
 * A decoder after https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation, linear in
 * its input. It departs from it in one point: `finish` returns the last event if only its blank line is missing.
 * @param maxChars the longest event, in UTF-16 code units
 */
export function createSseDecoder(maxChars = 48 << 20) {
    const utf8 = new TextDecoder();
    let line = [];
    let data = [];
    let event = '';
    let held = 0;
    let afterReturn = false;
    function endLine(last, out) {
        const text = line.join('') + last;
        line = [];
        if (text === '') {
            if (data.length)
                out.push({ event: event || 'message', data: data.join('\n') });
            data = [];
            event = '';
            held = 0;
            return;
        }
        const [, name, value] = /^([^:]*):? ?([^]*)/.exec(text);
        if (name === 'data')
            data.push(value);
        else if (name === 'event')
            event = value;
    }
    function read(text) {
        const out = [];
        if ((held += text.length) > maxChars)
            throw new SyntaxError('event too large');
        const lineEnds = /\r\n?|\n/g;
        let from = 0;
        for (let end; (end = lineEnds.exec(text)); from = lineEnds.lastIndex) {
            // The line feed that follows a carriage return of the piece before ends no line of its own.
            if (!afterReturn || end.index || end[0] !== '\n')
                endLine(text.slice(from, end.index), out);
            afterReturn = false;
        }
        line.push(text.slice(from));
        if (text)
            afterReturn = text.endsWith('\r');
        return out;
    }
    return {
        push: (piece) => read(utf8.decode(piece, { stream: true })),
        finish: () => read(`${utf8.decode()}\n\n`),
    };
}
