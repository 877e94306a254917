import { parseWire } from './events.js';
import { bounded, childOf, defined, refusal, send } from './request.js';
const TIMEOUT_MS = 15_000;
/** @param address of `GET /api/generations`; throws if there is none */
export function createGenerations(settings, address) {
    async function call(path, init, outer) {
        const { fail } = settings;
        const url = address() + path;
        const own = childOf(outer);
        async function request({ signal }) {
            const response = await send(settings, url, { ...init, signal });
            if (!response.ok)
                throw await refusal(response, signal, fail);
            const text = await bounded(response.text(), signal, fail);
            const value = text ? parseWire(text) : undefined;
            for (const item of value?.items ?? [value])
                for (const picture of item?.pictures ?? [])
                    picture.taskId = item.taskId;
            return value;
        }
        try {
            return await bounded(request(own), own.signal, fail, TIMEOUT_MS);
        }
        finally {
            own.abort();
        }
    }
    const path = (taskId) => `/${encodeURIComponent(taskId)}`;
    return {
        generations: ({ signal, ...query } = {}) => call(`?${new URLSearchParams(defined(query))}`, {}, signal),
        generation: (taskId, signal) => call(path(taskId), {}, signal),
        cancel: (taskId) => call(path(taskId), { method: 'DELETE', keepalive: true }),
        erasePictures: (taskId) => call(`${path(taskId)}/pictures`, { method: 'DELETE' }),
    };
}
