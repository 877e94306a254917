import { createAnswer } from './answer.js';
import type { ChatReader } from './chat.js';
import { LOST, type ImageStreamError } from './errors.js';
import type { Generation, ImageEvent, ImageResult } from './events.js';
import type { Generations } from './generations.js';
import { bounded, childOf, known, refusal, send, type RequestSettings } from './request.js';
import { createSseDecoder } from './sse.js';

/** Limits of one run, over those of the client. */
export interface RunOptions {
  /** Stops reading. The server goes on: see {@link ImageRun.cancel}. */
  signal?: AbortSignal;
  /** The idempotency key, `[A-Za-z0-9_.:-]{1,128}`. A new one by default; the same one again retries a failed task. */
  taskId?: string;
  /** The longest silence, in milliseconds. The server sends a sign of life every 10 s. */
  idleTimeoutMs?: number;
  /** The longest run, in milliseconds of wall clock. */
  totalTimeoutMs?: number;
}

/** When a POST is sent again. */
export interface RetryOptions {
  /** Further attempts. Default 2. */
  retries?: number;
  /** The first wait without `Retry-After`, in milliseconds. Default 500, doubled each time. */
  baseMs?: number;
  /** The longest wait without `Retry-After`. Default 8000. */
  maxMs?: number;
  /** A longer `Retry-After` is thrown at once. Default 60000. */
  maxRetryAfterMs?: number;
}

/** A generation. Nothing is sent before it is iterated or `result` is called. It can be iterated once. */
export interface ImageRun extends AsyncIterable<ImageEvent> {
  /** The idempotency key, known before anything is sent. Store it to `resume` after a reload. */
  readonly taskId: string;
  /** The end of the run: it drains the run, or waits for the loop that does. */
  result(): Promise<ImageResult>;
  /** Stops reading (the loop throws `aborted`) and asks the server to stop. It does not reject. */
  cancel(): Promise<void>;
}

export interface RunSettings extends RequestSettings {
  retry: Required<RetryOptions>;
  idleTimeoutMs: number;
  totalTimeoutMs: number;
  previewIntervalMs: number;
}

/** A POST. */
export interface RunRequest {
  url: string;
  headers: Record<string, string>;
  /** Throws if the body cannot be sent. */
  body: () => Promise<string>;
}

/** The slowest upload that is not taken for silence. */
const UPLOAD_BYTES_PER_MS = 16;
const CANCELS = 6;
const POLL_MS = 1000;
const MAX_POLL_MS = 10_000;

/** A run that sends `request`, or without one follows `taskId` in the log. */
export function createRun(
  settings: RunSettings,
  log: Generations | undefined,
  taskId: string,
  request: RunRequest | undefined,
  options: RunOptions,
): ImageRun {
  const { fail, retry } = settings;
  const { idleTimeoutMs = settings.idleTimeoutMs, totalTimeoutMs = settings.totalTimeoutMs } = options;
  const whole = childOf(options.signal);
  const newAnswer = () => createAnswer(taskId, fail, settings.previewIntervalMs);
  let answer = newAnswer();
  let deadline = Infinity;
  /** How often a cancel is asked for: there is no record before the server has checked the request. */
  let cancels = request ? 0 : 1;
  /** Whether the server has answered for the task. */
  let isKnown: boolean;

  /** Sends the POST and reads its answer up to the terminal event. */
  async function* post({ url, headers, body }: RunRequest): AsyncGenerator<ImageEvent, void> {
    const own = childOf(whole.signal);
    const { signal } = own;
    /** `work` without more silence than allowed. */
    const waiting = <T>(work: Promise<T>, moreMs = 0): Promise<T> =>
      bounded(work, signal, fail, Math.min(idleTimeoutMs + moreMs, deadline - Date.now()));

    let code = 'network';
    try {
      const init = { method: 'POST', headers, body: await body(), signal };
      cancels = CANCELS;
      const response = await waiting(send(settings, url, init), init.body.length / UPLOAD_BYTES_PER_MS);
      code = 'protocol';
      if (!response.ok) throw await refusal(response, signal, fail);
      const type = response.headers.get('content-type') ?? '';
      // The reader of everything but typed events is loaded when it is needed: they are the usual answer.
      async function other(): Promise<ChatReader> {
        // What breaks off from here on may have been paid.
        isKnown = true;
        code = 'interrupted';
        return (await import('./chat.js')).createChatReader(answer, taskId, fail);
      }
      if (type.includes('json')) {
        (await other()).readJson(await waiting(response.text()));
        return yield* answer.take();
      }
      if (!type.startsWith('text/event-stream') || !response.body) throw fail('protocol', {}, type);
      const pieces = response.body.getReader();
      const decoder = createSseDecoder();
      let reader: Pick<typeof answer, 'read'> | undefined;
      for (;;) {
        const { done, value } = await waiting(pieces.read());
        code = done ? 'interrupted' : 'protocol';
        for (const event of value ? decoder.push(value) : decoder.finish()) {
          if (event.data.length < 5) continue; // Some relays send empty events, `{}` and `null`.
          reader ??= /^\[DONE|"choices"/.test(event.data) ? await other() : answer;
          reader.read(event);
          isKnown = true;
          yield* answer.take();
          if (answer.result) return;
        }
        if (done) throw fail('interrupted');
      }
    } catch (cause) {
      throw known(cause, fail, code);
    } finally {
      own.abort();
    }
  }

  function sleep(ms: number): Promise<void> {
    return bounded(later(ms), whole.signal, fail);
  }

  /**
   * The record of the task once it has ended, undefined if there is none. If the task `mustEnd`, the log is asked up to
   * the deadline, whatever the network does; at least once in any case.
   */
  async function follow(mustEnd: boolean, firstMs: number): Promise<Generation | undefined> {
    let failures = 0;
    for (let wait = firstMs; ; wait = Math.min(wait * 1.5 + POLL_MS / 2, MAX_POLL_MS)) {
      await sleep(Math.min(wait, deadline - Date.now()));
      try {
        const item = await log!.generation(taskId, whole.signal);
        if (item.status !== 'running') return item;
        failures = 0;
      } catch (error) {
        const { code, status = 0, retryable } = error as ImageStreamError;
        if (code === 'task_not_found') return undefined;
        if ((!retryable && status < 500) || (!mustEnd && ++failures > retry.retries)) throw error;
      }
      if (Date.now() >= deadline) throw fail('timeout');
    }
  }

  async function* attempts(): AsyncGenerator<ImageEvent, void> {
    deadline = Date.now() + totalTimeoutMs;
    for (let attempt = 1; ; attempt++) {
      let lost: ImageStreamError | undefined;
      isKnown = !request;
      if (request) {
        yield { type: 'connecting', attempt };
        try {
          return yield* post(request);
        } catch (error) {
          lost = error as ImageStreamError;
        }
      }
      const next = lost ? judge(lost, isKnown) : 'ask';
      const isLast = attempt > retry.retries;
      if (next === 'throw') throw lost;
      if (next === 'ask' || (isLast && !lost?.status)) {
        if (!log) throw lost && !(isKnown && lost.code === 'network') ? lost : fail('interrupted', { cause: lost });
        yield { type: 'resumed', taskId, ...(lost && { error: lost }) };
        const item = await follow(isKnown || lost?.status === 409, lost ? POLL_MS : 0);
        if (item) {
          // Without this module the task can still be resumed later.
          const { settle } = await import('./settle.js').catch((cause: unknown) => {
            throw fail('interrupted', { cause });
          });
          settle(answer, item, fail, lost);
          return yield* answer.take();
        }
      }
      if (!lost) throw fail('task_not_found', { status: 404 });
      const backoffMs = Math.min(retry.maxMs, retry.baseMs * 2 ** (attempt - 1)) * (0.75 + Math.random() / 2);
      const delayMs = lost.retryAfterMs ?? backoffMs;
      if (isLast || delayMs > retry.maxRetryAfterMs || Date.now() + delayMs > deadline) throw lost;
      yield { type: 'retry', attempt: attempt + 1, delayMs, error: lost };
      await sleep(delayMs);
      answer = newAnswer();
    }
  }

  let isIterated = false;
  let resolve: (result: ImageResult) => void;
  let reject: (error: unknown) => void;
  const outcome = new Promise<ImageResult>((yes, no) => ([resolve, reject] = [yes, no]));
  outcome.catch(() => {}); // A page that iterates may never ask for the result.

  async function* iterate(): AsyncGenerator<ImageEvent, void> {
    try {
      yield* attempts();
      resolve(answer.result!);
      yield { type: 'done', result: answer.result! };
    } catch (cause) {
      const error = known(cause, fail, 'protocol');
      error.taskId ??= taskId;
      error.images = answer.images();
      reject(error);
      throw error;
    } finally {
      whole.abort();
      reject(fail('aborted'));
    }
  }

  const run: ImageRun = {
    taskId,
    [Symbol.asyncIterator]() {
      if (isIterated) throw new Error('iterated twice');
      isIterated = true;
      return iterate();
    },
    async result() {
      if (!isIterated) for await (const _ of run);
      return outcome;
    },
    async cancel() {
      whole.abort();
      while (cancels-- > 0) {
        const code = await log?.cancel(taskId).catch((error: ImageStreamError) => error.code);
        if (code !== 'task_not_found') return;
        await later(POLL_MS);
      }
    },
  };
  return run;
}

const later = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** What to do about a POST that was lost. It is only sent again if it cannot be paid twice. */
function judge({ code, status, retryable }: ImageStreamError, hasEvents: boolean): 'throw' | 'send' | 'ask' {
  if (/^task_(in_progress|already)|^stream_/.test(code)) return 'ask';
  if (hasEvents) return LOST.test(code) || code === 'protocol' ? 'ask' : 'throw';
  // The upstream was not called: a limit, a busy service, or a refusal of the platform itself.
  const isUnpaid = status === 429 || status === 503 || /^(upstream_unreach|http_)/.test(code);
  return LOST.test(code) || (retryable && isUnpaid) ? 'send' : 'throw';
}
