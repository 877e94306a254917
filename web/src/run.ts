import { createAnswer } from './answer.js';
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
  const { idleTimeoutMs, totalTimeoutMs } = { ...settings, ...options };
  const whole = childOf(options.signal);
  const newAnswer = () => createAnswer(taskId, fail, settings.previewIntervalMs);
  let answer = newAnswer();
  let deadline = Infinity;
  let sent = false;

  /** Sends the POST and reads its answer up to the terminal event. */
  async function* post({ url, headers, body }: RunRequest): AsyncGenerator<ImageEvent, void> {
    const own = childOf(whole.signal);
    const { signal } = own;
    /** `work` without more silence than allowed. */
    const waiting = <T>(work: Promise<T>): Promise<T> =>
      bounded(work, signal, fail, Math.min(idleTimeoutMs, deadline - Date.now()));

    let isAtEnd = false;
    try {
      const init = { method: 'POST', headers, body: await body(), signal };
      sent = true;
      const response = await waiting(send(settings, url, init));
      if (!response.ok) throw await refusal(response, signal, fail);
      const type = response.headers.get('content-type') ?? '';
      // The reader of everything but typed events is loaded when it is needed: they are the usual answer.
      const other = async () => (await import('./chat.js')).createChatReader(answer, taskId, fail);
      if (type.includes('json')) {
        const text = await waiting(response.text());
        (await other()).readJson(text);
        yield* answer.take();
        return;
      }
      if (!type.startsWith('text/event-stream') || !response.body) throw fail('protocol', {}, type);
      const pieces = response.body.getReader();
      const decoder = createSseDecoder();
      let reader: Pick<typeof answer, 'read'> | undefined;
      for (;;) {
        const { done, value } = await waiting(pieces.read());
        isAtEnd = done;
        for (const event of value ? decoder.push(value) : decoder.finish()) {
          if (event.data.length < 5) continue; // Some relays send empty events, `{}` and `null`.
          reader ??= /^\[DONE|"choices"/.test(event.data) ? await other() : answer;
          reader.read(event);
          yield* answer.take();
          if (answer.result) return;
        }
        if (done) throw fail('interrupted');
      }
    } catch (cause) {
      throw known(cause, fail, isAtEnd ? 'interrupted' : 'protocol');
    } finally {
      own.abort();
    }
  }

  function sleep(ms: number): Promise<void> {
    return bounded(new Promise((resolve) => setTimeout(resolve, ms)), whole.signal, fail);
  }

  /**
   * The record of the task once it has ended, undefined if there is none. If the server has answered for the task
   * (`isKnown`), the log is asked up to the deadline, whatever the network does; at least once in any case.
   */
  async function follow(isKnown: boolean, firstMs: number): Promise<Generation | undefined> {
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
        if ((!retryable && status < 500) || (!isKnown && ++failures > retry.retries)) throw error;
      }
      if (Date.now() >= deadline) throw fail('timeout');
    }
  }

  /** Makes the result of a task that has ended in the log. */
  function settle({ status, code = 'upstream_error', images, urls, pictures }: Generation, lost?: ImageStreamError): void {
    if (status === 'failed') throw fail(code, { retryable: !/reject|invalid|cancel/.test(code) });
    const kept = pictures?.length ? pictures : (urls ?? []).map((url, index) => ({ url, index }));
    const slots = new Map([...answer.images(), ...kept].map((picture) => [picture.index, picture]));
    if (slots.size < Math.max(images, 1)) {
      throw lost?.code === 'task_already_completed' ? lost : fail('interrupted', { paid: true, retryable: false });
    }
    answer.finish({ images: [...slots.values()] });
    answer.result!.resumed = true;
  }

  async function* attempts(): AsyncGenerator<ImageEvent, void> {
    deadline = Date.now() + totalTimeoutMs;
    for (let attempt = 1; ; attempt++) {
      let lost: ImageStreamError | undefined;
      let isKnown = !request;
      if (request) {
        yield { type: 'connecting', attempt };
        try {
          for await (const event of post(request)) {
            isKnown = true;
            yield event;
          }
          return;
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
          settle(item, lost);
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
      if (sent || !request) await log?.cancel(taskId).catch(() => {});
    },
  };
  return run;
}

/** What to do about a POST that was lost. It is only sent again if it cannot be paid twice. */
function judge({ code, status, retryable }: ImageStreamError, hasEvents: boolean): 'throw' | 'send' | 'ask' {
  if (/^task_(in_progress|already)|^stream_/.test(code)) return 'ask';
  if (hasEvents) return LOST.test(code) || code === 'protocol' ? 'ask' : 'throw';
  // The upstream was not called: a limit, a busy service, or a refusal of the platform itself.
  const isUnpaid = status === 429 || status === 503 || /^(upstream_unreach|http_)/.test(code);
  return LOST.test(code) || (retryable && isUnpaid) ? 'send' : 'throw';
}
