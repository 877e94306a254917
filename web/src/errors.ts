import type { GeneratedImage } from './events.js';

/** The language of a sentence that a user reads. */
export type Language = 'zh' | 'en';

/** What an {@link ImageStreamError} may carry beside its code and sentence. */
export interface ErrorDetails {
  status?: number;
  retryable?: boolean;
  retryAfterMs?: number;
  requestId?: string;
  paid?: boolean;
  cause?: unknown;
}

/** The codes of a call that may have reached the server. */
export const LOST: RegExp = /^(network|timeout|interrupted)$/;

/** Every failure of this package. Decide by `code`, show `message`. */
export class ImageStreamError extends Error {
  /**
   * The server's code (docs/api.md), or `network`, `timeout`, `aborted`, `protocol`, `interrupted`, or
   * `http_<status>` for a refusal that has no code.
   */
  declare readonly code: string;
  /** The HTTP status of a refusal. */
  declare readonly status?: number;
  /** Whether the same call may succeed later. A repeat of a failed task uses the same task id. */
  declare readonly retryable: boolean;
  /** The wait, in milliseconds, that the server asks for. */
  declare readonly retryAfterMs?: number;
  /** The request id of the refusal, for a support request. */
  declare readonly requestId?: string;
  /** Which members of the request were refused, as JSON pointers. */
  declare readonly errors?: { pointer: string; code: string }[];
  /** Set for `interrupted`: true if the log says that the task succeeded and its pictures are not kept. */
  declare readonly paid?: boolean;
  /** The task that failed. */
  declare taskId?: string;
  /** The pictures that were whole before the failure. They stay valid. */
  declare images: GeneratedImage[];

  constructor(code: string, message: string, details?: ErrorDetails) {
    super(message);
    Object.assign(this, { name: 'ImageStreamError', code, retryable: LOST.test(code), images: [] }, details);
  }
}

/** The browser's language, else Chinese. */
export const preferredLanguage = (): Language =>
  (/\b(zh|en)\b/.exec(`${globalThis.navigator?.languages}`)?.[0] as Language | undefined) ?? 'zh';

// Chinese and English.
const SENTENCES: Record<string, string> = {
  network: '网络连接失败|Network failure',
  timeout: '等待超时|Timed out',
  aborted: '已取消|Cancelled',
  protocol: '无法识别服务器的响应|Unknown answer',
  interrupted: '连接中断，图片不完整|Connection broken',
  payload_too_large: '图片太大，请先缩小|Pictures too large',
  failed: '生成失败|Generation failed',
};

/** Makes a failure with one of the sentences of this package, and `note` behind it in parentheses. */
export type Fail = (code: string, details?: ErrorDetails, note?: string | number) => ImageStreamError;

export function failIn(language: Language): Fail {
  return (code, details, note = SENTENCES[code] ? '' : code) => {
    const sentence = (SENTENCES[code] ?? SENTENCES.failed!).split('|')[+(language === 'en')]!;
    return new ImageStreamError(code, note ? `${sentence} (${note})` : sentence, details);
  };
}

/** The members of a problem document, of an `error` event, or of the `error` in a chat answer. */
export interface Problem extends ErrorDetails {
  code?: unknown;
  error?: unknown;
  message?: unknown;
  images?: unknown;
}

/** The failure that `problem` describes, with all of its members, or one of `code` if it describes none. */
export function fromProblem(problem: Problem, code: string, fail: Fail, details?: ErrorDetails): ImageStreamError {
  const { code: own, error, message, images: _, ...rest } = ((typeof problem.error === 'object' && problem.error) || problem) as Problem;
  const known = /^[a-z]\w+$/.exec(`${own ?? ''}`)?.[0] ?? code;
  const reason = [error, message].find((text) => typeof text === 'string') as string | undefined;
  const all = { ...details, ...rest };
  return reason ? new ImageStreamError(known, reason, all) : fail(known, all);
}
