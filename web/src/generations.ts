import { parseWire, type Generation, type GenerationPage } from './events.js';
import { bounded, childOf, defined, refusal, send, type RequestSettings } from './request.js';

const TIMEOUT_MS = 15_000;

/** The log of the caller's tasks. */
export interface Generations {
  generations(query?: { limit?: number; cursor?: string; signal?: AbortSignal }): Promise<GenerationPage>;
  /** Throws `task_not_found` for an unknown task. */
  generation(taskId: string, signal?: AbortSignal): Promise<Generation>;
  /** Asks a running task to stop. */
  cancel(taskId: string): Promise<Generation>;
  /** Erases the kept pictures of a task that has ended. */
  erasePictures(taskId: string): Promise<void>;
}

/** @param address of `GET /api/generations`; throws if there is none */
export function createGenerations(settings: RequestSettings, address: () => string): Generations {
  async function call(path: string, init?: RequestInit, outer?: AbortSignal): Promise<unknown> {
    const { fail } = settings;
    const url = address() + path;
    const own = childOf(outer);
    async function request({ signal }: AbortController): Promise<unknown> {
      const response = await send(settings, url, { ...init, signal });
      if (!response.ok) throw await refusal(response, signal, fail);
      const text = await bounded(response.text(), signal, fail);
      const value = text ? (parseWire(text) as Generation & Partial<GenerationPage>) : undefined;
      for (const item of value?.items ?? [value]) for (const picture of item?.pictures ?? []) picture.taskId = item!.taskId;
      return value;
    }
    try {
      return await bounded(request(own), own.signal, fail, TIMEOUT_MS);
    } finally {
      own.abort();
    }
  }

  const path = (taskId: string): string => `/${encodeURIComponent(taskId)}`;

  return {
    generations: ({ signal, ...query } = {}) =>
      call(`?${new URLSearchParams(defined(query) as Record<string, string>)}`, {}, signal) as Promise<GenerationPage>,
    generation: (taskId, signal) => call(path(taskId), {}, signal) as Promise<Generation>,
    cancel: (taskId) => call(path(taskId), { method: 'DELETE', keepalive: true }) as Promise<Generation>,
    erasePictures: (taskId) => call(`${path(taskId)}/pictures`, { method: 'DELETE' }) as Promise<undefined>,
  };
}
