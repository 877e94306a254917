// Browser storage: settings, the captions of the history, and the last request with its photos. No token.
import type { Language } from './words.js';

/** A photo of a request: scaled down, or a link. */
export type Photo = { blob: Blob; before: number; width: number; height: number } | { url: string };

export type Mode = 'words' | 'faces';

/** The request of a user. */
export interface PageRequest {
  /** The key of the task. A retry has the same one. */
  taskId: string;
  mode: Mode;
  prompt: string;
  n: number;
  /** Such as `16:9`; empty for the model's choice. */
  ratio: string;
  model: string;
  photos: Photo[];
  /** When it was sent first, in milliseconds since 1970. */
  at: number;
}

/** The last request, and its failure if it has ended in one. */
export interface LastRequest extends PageRequest {
  failure?: string;
}

interface StoredRequest extends Omit<LastRequest, 'photos'> {
  user: string;
}

export interface Caption {
  prompt: string;
  at: number;
}

const PREFIX = 'darkroom.';
const PHOTOS_MS = 24 * 3600_000;
/** As old as the log gets. */
const CAPTIONS_MS = 30 * PHOTOS_MS;
const MAX_CAPTIONS = 300;
const STORE_MS = 2000;

function read<T>(name: string): T | undefined {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + name) ?? 'null') ?? undefined;
  } catch {
    return undefined; // Storage is off, or another version wrote it.
  }
}

function write(name: string, value: unknown): void {
  try {
    if (value === undefined) localStorage.removeItem(PREFIX + name);
    else localStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // Storage is off or full: the page works without.
  }
}

/** Settings that have nothing to do with a user, and the address that the sign-in form offers. */
interface Settings {
  language: Language;
  theme: 'light' | 'dark';
  email: string;
  /** Set after a sign-out: the local stack then signs in no user by itself. */
  signedOut: true;
  /** Set once an answer had a kept picture: a closed tab then loses none. */
  keepsPictures: boolean;
}
export const setting = <K extends keyof Settings>(name: K): Settings[K] | undefined => read(name);
export const setSetting = <K extends keyof Settings>(name: K, value: Settings[K] | undefined): void => write(name, value);

/** Runs `work` on the store of photos. Undefined where there is none, as in some private windows, or no answer. */
const photoStore = <T>(work: (store: IDBObjectStore) => IDBRequest<T>): Promise<T | undefined> =>
  Promise.race([photoWork(work), new Promise<undefined>((resolve) => setTimeout(resolve, STORE_MS))]);

async function photoWork<T>(work: (store: IDBObjectStore) => IDBRequest<T>): Promise<T | undefined> {
  try {
    const opening = indexedDB.open('darkroom', 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore('photos');
    const database = await settled(opening);
    try {
      return await settled(work(database.transaction('photos', 'readwrite').objectStore('photos')));
    } finally {
      database.close();
    }
  } catch {
    return undefined;
  }
}

const settled = <T>(request: IDBRequest<T>): Promise<T> =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

/** Keeps a request before it is sent. There is one last request; its photos replace those of the one before. */
export async function keepRequest({ photos, ...request }: PageRequest, user: string): Promise<void> {
  write('last', { ...request, user } satisfies StoredRequest);
  const captions = { ...read<Record<string, Caption>>('captions'), [request.taskId]: { prompt: request.prompt, at: request.at } };
  const newest = Object.entries(captions).sort(([, a], [, b]) => b.at - a.at).slice(0, MAX_CAPTIONS);
  write('captions', Object.fromEntries(newest.filter(([, { at }]) => at > Date.now() - CAPTIONS_MS)));
  await photoStore((store) => store.clear());
  if (photos.length) await photoStore((store) => store.put(photos, request.taskId));
}

/** Notes that the last request has failed. */
export function keepFailure(taskId: string, failure: string): void {
  const last = read<StoredRequest>('last');
  if (last?.taskId === taskId) write('last', { ...last, failure });
}

/** The last request of `user` that has not succeeded, if it is younger than a day. Anything else is deleted. */
export async function lastRequest(user: string): Promise<LastRequest | undefined> {
  const last = read<StoredRequest>('last');
  if (!last || last.user !== user || last.at < Date.now() - PHOTOS_MS) {
    await forgetRequest();
    return undefined;
  }
  const { user: _, ...request } = last;
  return { ...request, photos: (await photoStore((store) => store.get(last.taskId) as IDBRequest<Photo[]>)) ?? [] };
}

/** Deletes the last request and its photos; its caption stays. With `taskId` only that one: another tab may have sent one. */
export async function forgetRequest(taskId?: string): Promise<void> {
  if (taskId && read<StoredRequest>('last')?.taskId !== taskId) return;
  write('last', undefined);
  await photoStore((store) => store.clear());
}

/** Deletes what is older than a day, in a page that stays open. */
export async function forgetOld(): Promise<void> {
  const last = read<StoredRequest>('last');
  if (last && last.at < Date.now() - PHOTOS_MS) await forgetRequest();
}

/** Deletes everything of a user, at sign-out. */
export async function forgetUser(): Promise<void> {
  write('captions', undefined);
  await forgetRequest();
}

export const captionOf = (taskId: string): string | undefined => read<Record<string, Caption>>('captions')?.[taskId]?.prompt;
