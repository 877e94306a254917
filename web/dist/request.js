import { fromProblem, ImageStreamError } from './errors.js';
import { parseWire } from './events.js';
/** Sends a request with the user's token. After a 401 the token is asked for once more. */
export async function send({ token, tokenTimeoutMs, headers, fail, fetch }, url, init) {
    let response;
    let refused;
    for (const refresh of [false, true]) {
        const asked = (async () => (typeof token === 'function' ? token({ refresh }) : token))();
        const bearer = await bounded(asked, init.signal, fail, tokenTimeoutMs);
        if (response && (!bearer || bearer === refused))
            break;
        const all = { ...headers, ...init.headers, ...(bearer && { Authorization: `Bearer ${bearer}` }) };
        response = await bounded(fetch(url, { ...init, headers: all }), init.signal, fail);
        if (response.status !== 401)
            break;
        refused = bearer;
    }
    return response;
}
const BODY_MS = 10_000;
/** The problem that a refusal holds, also if the platform wrote it. A body that breaks off is thrown as `network`. */
export async function refusal(response, signal, fail) {
    const { status, headers } = response;
    let problem = {};
    const text = await bounded(response.text(), signal, fail, BODY_MS);
    try {
        problem = Object(parseWire(text));
    }
    catch {
        // The platform's own refusals are not JSON.
    }
    const retryAfterMs = Number(headers.get('retry-after')) * 1000;
    const code = { 401: 'token_invalid', 413: 'payload_too_large', 429: 'rate_limited' }[status] ?? `http_${status}`;
    const retryable = /408|429|50[234]/.test(`${status}`);
    return fromProblem({ ...problem, status }, code, fail, { status, retryable, ...(retryAfterMs > 0 && { retryAfterMs }) });
}
/** A controller that `outer` aborts too. Its own `abort` at the end lets go of `outer`. */
export function childOf(outer) {
    const child = new AbortController();
    const abort = () => child.abort();
    if (outer?.aborted)
        abort();
    outer?.addEventListener('abort', abort, { signal: child.signal });
    return child;
}
/** `object` without the members that are undefined: they stand for the default. */
export const defined = (object) => Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined));
const LATE_MS = 1000;
/**
 * `work`, or `network` if it fails, or `aborted` once `signal` is, or `timeout` after `ms`: a page's own `fetch` or token
 * function may ignore its signal. A timer that fires late means that the page slept, and answers may be waiting: it runs
 * once more.
 */
export function bounded(work, signal, fail, ms = Infinity) {
    let timer;
    let abort;
    const end = new Promise((_, reject) => {
        abort = () => reject(fail('aborted'));
        if (signal.aborted)
            abort();
        signal.addEventListener('abort', abort);
        function wait(isSecond) {
            const late = Date.now() + ms + LATE_MS;
            timer = setTimeout(() => (isSecond || Date.now() < late ? reject(fail('timeout')) : wait(true)), ms);
        }
        if (ms < Infinity)
            wait(false);
    });
    const done = work.catch((cause) => {
        throw known(cause, fail, 'network');
    });
    return Promise.race([done, end]).finally(() => {
        clearTimeout(timer);
        signal.removeEventListener('abort', abort);
    });
}
/** `cause` itself if it is one of ours, else a failure of `code`. */
export function known(cause, fail, code) {
    return cause instanceof ImageStreamError ? cause : fail(code, { cause });
}
