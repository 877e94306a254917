import { createAnswer } from './answer.js';
import { LOST } from './errors.js';
import { bounded, childOf, known, refusal, send } from './request.js';
import { createSseDecoder } from './sse.js';
/** The slowest upload that is not taken for silence. */
const UPLOAD_BYTES_PER_MS = 16;
const CANCELS = 6;
const POLL_MS = 1000;
const MAX_POLL_MS = 10_000;
/** A run that sends `request`, or without one follows `taskId` in the log. */
export function createRun(settings, log, taskId, request, options) {
    const { fail, retry } = settings;
    const { idleTimeoutMs = settings.idleTimeoutMs, totalTimeoutMs = settings.totalTimeoutMs } = options;
    const whole = childOf(options.signal);
    const newAnswer = () => createAnswer(taskId, fail, settings.previewIntervalMs);
    let answer = newAnswer();
    let deadline = Infinity;
    /** How often a cancel is asked for: there is no record before the server has checked the request. */
    let cancels = request ? 0 : 1;
    /** Whether the server has answered for the task. */
    let isKnown;
    /** Sends the POST and reads its answer up to the terminal event. */
    async function* post({ url, headers, body }) {
        const own = childOf(whole.signal);
        const { signal } = own;
        /** `work` without more silence than allowed. */
        const waiting = (work, moreMs = 0) => bounded(work, signal, fail, Math.min(idleTimeoutMs + moreMs, deadline - Date.now()));
        let code = 'network';
        try {
            const init = { method: 'POST', headers, body: await body(), signal };
            cancels = CANCELS;
            const response = await waiting(send(settings, url, init), init.body.length / UPLOAD_BYTES_PER_MS);
            code = 'protocol';
            if (!response.ok)
                throw await refusal(response, signal, fail);
            const type = response.headers.get('content-type') ?? '';
            // The reader of everything but typed events is loaded when it is needed: they are the usual answer.
            async function other() {
                // What breaks off from here on may have been paid.
                isKnown = true;
                code = 'interrupted';
                return (await import('./chat.js')).createChatReader(answer, taskId, fail);
            }
            if (type.includes('json')) {
                (await other()).readJson(await waiting(response.text()));
                return yield* answer.take();
            }
            if (!type.startsWith('text/event-stream') || !response.body)
                throw fail('protocol', {}, type);
            const pieces = response.body.getReader();
            const decoder = createSseDecoder();
            let reader;
            for (;;) {
                const { done, value } = await waiting(pieces.read());
                code = done ? 'interrupted' : 'protocol';
                for (const event of value ? decoder.push(value) : decoder.finish()) {
                    if (event.data.length < 5)
                        continue; // Some relays send empty events, `{}` and `null`.
                    reader ??= /^\[DONE|"choices"/.test(event.data) ? await other() : answer;
                    reader.read(event);
                    isKnown = true;
                    yield* answer.take();
                    if (answer.result)
                        return;
                }
                if (done)
                    throw fail('interrupted');
            }
        }
        catch (cause) {
            throw known(cause, fail, code);
        }
        finally {
            own.abort();
        }
    }
    function sleep(ms) {
        return bounded(later(ms), whole.signal, fail);
    }
    /**
     * The record of the task once it has ended, undefined if there is none. If the task `mustEnd`, the log is asked up to
     * the deadline, whatever the network does; at least once in any case.
     */
    async function follow(mustEnd, firstMs) {
        let failures = 0;
        for (let wait = firstMs;; wait = Math.min(wait * 1.5 + POLL_MS / 2, MAX_POLL_MS)) {
            await sleep(Math.min(wait, deadline - Date.now()));
            try {
                const item = await log.generation(taskId, whole.signal);
                if (item.status !== 'running')
                    return item;
                failures = 0;
            }
            catch (error) {
                const { code, status = 0, retryable } = error;
                if (code === 'task_not_found')
                    return undefined;
                if ((!retryable && status < 500) || (!mustEnd && ++failures > retry.retries))
                    throw error;
            }
            if (Date.now() >= deadline)
                throw fail('timeout');
        }
    }
    async function* attempts() {
        deadline = Date.now() + totalTimeoutMs;
        for (let attempt = 1;; attempt++) {
            let lost;
            isKnown = !request;
            if (request) {
                yield { type: 'connecting', attempt };
                try {
                    return yield* post(request);
                }
                catch (error) {
                    lost = error;
                }
            }
            const next = lost ? judge(lost, isKnown) : 'ask';
            const isLast = attempt > retry.retries;
            if (next === 'throw')
                throw lost;
            if (next === 'ask' || (isLast && !lost?.status)) {
                if (!log)
                    throw lost && !(isKnown && lost.code === 'network') ? lost : fail('interrupted', { cause: lost });
                yield { type: 'resumed', taskId, ...(lost && { error: lost }) };
                const item = await follow(isKnown || lost?.status === 409, lost ? POLL_MS : 0);
                if (item) {
                    // Without this module the task can still be resumed later.
                    const { settle } = await import('./settle.js').catch((cause) => {
                        throw fail('interrupted', { cause });
                    });
                    settle(answer, item, fail, lost);
                    return yield* answer.take();
                }
            }
            if (!lost)
                throw fail('task_not_found', { status: 404 });
            const backoffMs = Math.min(retry.maxMs, retry.baseMs * 2 ** (attempt - 1)) * (0.75 + Math.random() / 2);
            const delayMs = lost.retryAfterMs ?? backoffMs;
            if (isLast || delayMs > retry.maxRetryAfterMs || Date.now() + delayMs > deadline)
                throw lost;
            yield { type: 'retry', attempt: attempt + 1, delayMs, error: lost };
            await sleep(delayMs);
            answer = newAnswer();
        }
    }
    let isIterated = false;
    let resolve;
    let reject;
    const outcome = new Promise((yes, no) => ([resolve, reject] = [yes, no]));
    outcome.catch(() => { }); // A page that iterates may never ask for the result.
    async function* iterate() {
        try {
            yield* attempts();
            resolve(answer.result);
            yield { type: 'done', result: answer.result };
        }
        catch (cause) {
            const error = known(cause, fail, 'protocol');
            error.taskId ??= taskId;
            error.images = answer.images();
            reject(error);
            throw error;
        }
        finally {
            whole.abort();
            reject(fail('aborted'));
        }
    }
    const run = {
        taskId,
        [Symbol.asyncIterator]() {
            if (isIterated)
                throw new Error('iterated twice');
            isIterated = true;
            return iterate();
        },
        async result() {
            if (!isIterated)
                for await (const _ of run)
                    ;
            return outcome;
        },
        async cancel() {
            whole.abort();
            while (cancels-- > 0) {
                const code = await log?.cancel(taskId).catch((error) => error.code);
                if (code !== 'task_not_found')
                    return;
                await later(POLL_MS);
            }
        },
    };
    return run;
}
const later = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
/** What to do about a POST that was lost. It is only sent again if it cannot be paid twice. */
function judge({ code, status, retryable }, hasEvents) {
    if (/^task_(in_progress|already)|^stream_/.test(code))
        return 'ask';
    if (hasEvents)
        return LOST.test(code) || code === 'protocol' ? 'ask' : 'throw';
    // The upstream was not called: a limit, a busy service, or a refusal of the platform itself.
    const isUnpaid = status === 429 || status === 503 || /^(upstream_unreach|http_)/.test(code);
    return LOST.test(code) || (retryable && isUnpaid) ? 'send' : 'throw';
}
