// Sign-in at Supabase Auth: password, code by e-mail, refresh. The access token is in memory only. The refresh token is
// in this tab's session storage, so that a reload does not sign the user out; with `rememberSignIn` it is in the
// browser's local storage, as with supabase-js.
import type { Config } from './config.js';
import type { Word } from './words.js';

const KEPT = 'darkroom.refresh';
/** A token that ends sooner is refreshed first. */
const MARGIN_MS = 30_000;
const TIMEOUT_MS = 10_000;

export interface User {
  id: string;
  email: string;
}

interface Tokens {
  access: string;
  /** In milliseconds since 1970, by this device's clock. */
  endsAt: number;
  user: User;
}

/** A refusal of Supabase, with the sentence for it. */
export class SignInError extends Error {
  declare readonly word: Word;

  constructor(word: Word) {
    super(word);
    this.word = word;
  }
}

export interface Session {
  user(): User | undefined;
  /** For the client: the access token, or undefined if there is no session. */
  token(ask: { refresh: boolean }): Promise<string | undefined>;
  signIn(email: string, password: string): Promise<void>;
  sendCode(email: string): Promise<void>;
  verifyCode(email: string, code: string): Promise<void>;
  /** Restores the session after a reload. */
  restore(): Promise<boolean>;
  signOut(): Promise<void>;
  /** For the bench: replaces the access token, and the refresh token too. */
  damage(access: string, isEnded: boolean): void;
}

/** @param onEnd called when a session cannot be refreshed */
export function createSession({ supabase: { url, key }, rememberSignIn }: Config, onEnd: () => void): Session {
  /** The refresh token, where the browser blocks the page's storage. */
  let inMemory: string | undefined;
  let tokens: Tokens | undefined;
  let refreshing: Promise<void> | undefined;

  async function call(path: string, body: object, wrong: Word, bearer?: string): Promise<unknown> {
    const headers = { 'Content-Type': 'application/json', apikey: key, ...(bearer && { Authorization: `Bearer ${bearer}` }) };
    // The lock of `refresh` holds every tab.
    const stop = new AbortController();
    const timer = setTimeout(() => stop.abort(), TIMEOUT_MS);
    let status: number;
    try {
      const response = await fetch(`${url}/auth/v1/${path}`, { method: 'POST', headers, body: JSON.stringify(body), signal: stop.signal });
      status = response.status;
      if (response.ok) return status === 204 ? undefined : await response.json();
    } catch {
      throw new SignInError('signInDown');
    } finally {
      clearTimeout(timer);
    }
    throw new SignInError(status === 429 ? 'signInBusy' : status < 500 && status !== 404 ? wrong : 'signInDown');
  }

  const storage = (): Storage => (rememberSignIn ? localStorage : sessionStorage);

  function stored(): string | null | undefined {
    try {
      return storage().getItem(KEPT);
    } catch {
      return inMemory;
    }
  }

  function store(token: string | undefined): void {
    inMemory = token;
    try {
      if (token) storage().setItem(KEPT, token);
      else storage().removeItem(KEPT);
    } catch {
      // Then a reload signs the user out.
    }
  }

  function keep(answer: unknown): void {
    const { access_token, refresh_token, expires_in, user } = answer as Record<string, string> & { user: User };
    tokens = { access: access_token!, endsAt: Date.now() + +expires_in! * 1000, user };
    store(refresh_token);
  }

  function forget(): void {
    tokens = undefined;
    store(undefined);
  }

  /** Each refresh token is used once; another tab may have used the one of before. */
  async function refreshAlone(): Promise<void> {
    const refresh_token = stored();
    try {
      if (refresh_token) keep(await call('token?grant_type=refresh_token', { refresh_token }, 'signInAgain'));
      else forget();
    } catch (error) {
      if ((error as SignInError).word !== 'signInAgain') throw error;
      forget();
    }
  }

  /** Locks are missing on a page without TLS. */
  const refresh = async (): Promise<void> => (navigator.locks ? navigator.locks.request(KEPT, refreshAlone) : refreshAlone());

  return {
    user: () => tokens?.user,
    async token(ask) {
      if (!tokens) return undefined;
      if (ask.refresh || Date.now() > tokens.endsAt - MARGIN_MS) {
        refreshing ??= refresh().finally(() => (refreshing = undefined));
        await refreshing;
        if (!tokens) onEnd();
      }
      return tokens?.access;
    },
    signIn: async (email, password) => keep(await call('token?grant_type=password', { email, password }, 'wrongSignIn')),
    sendCode: async (email) => void (await call('otp', { email, create_user: false }, 'wrongSignIn')),
    verifyCode: async (email, token) => keep(await call('verify', { type: 'email', email, token }, 'wrongCode')),
    async restore() {
      if (stored()) await refresh().catch(() => {});
      return !!tokens;
    },
    async signOut() {
      const bearer = tokens?.access;
      forget();
      if (bearer) await call('logout?scope=local', {}, 'signInDown', bearer).catch(() => {});
    },
    damage(access, isEnded) {
      if (tokens) tokens = { ...tokens, access };
      if (isEnded) store('ended');
    },
  };
}
