import type { ImageClientUrls } from '../src/index.js';

/** `config.json`, which stands beside the page. docs/page.md describes each member. */
export interface Config {
  /** The base of all routes, or their addresses. Default: the page's own host. */
  api?: string | ImageClientUrls;
  supabase: { url: string; key: string };
  /** The ways to sign in, in the order in which they are offered. */
  signIn?: ('password' | 'code')[];
  /** True: a user stays signed in after the tab is closed. */
  rememberSignIn?: boolean;
  /** The models that a user may choose. With fewer than two there is no choice. */
  models?: string[];
  /** False hides the second mode. */
  faceSwap?: boolean;
  /** The number of pictures of a face swap, for which places are reserved. Default 3. */
  faceSwapPictures?: number;
  /** False: downloads and copies are the pictures as they came, without the visible label. */
  visibleLabel?: boolean;
  /** Set by the local stack alone. */
  local?: LocalConfig;
}

export interface LocalConfig {
  users: string[];
  password: string;
  /** The shapes of the fake image API, chosen by `<model>@<shape>`. */
  shapes: string[];
  /** The faults that the header `x-dev-fault` of a request chooses. */
  faults: string[];
}

export async function loadConfig(): Promise<Config> {
  const response = await fetch('config.json', { cache: 'no-cache' });
  if (!response.ok) throw new Error(`config.json: HTTP ${response.status}`);
  return (await response.json()) as Config;
}

const LOOPBACK = /^(127\.0\.0\.1|localhost|\[::1\])$/;

/**
 * The address under which this device reaches `link`. The local stack makes links to its own loopback address, which a
 * phone cannot reach, so the stack fetches them for it.
 */
export function reachable(link: string, { local }: Config): string {
  const isForeign = local && LOOPBACK.test(new URL(link).hostname) && !LOOPBACK.test(location.hostname);
  return isForeign ? `dev/link?to=${encodeURIComponent(link)}` : link;
}
