import type { ImageStreamError } from '../src/index.js';
import { t, type Word } from './words.js';

/** Codes that share a sentence. Those of the service are in docs/api.md. */
const FAILURES: Partial<Record<Word, string>> = {
  f_offline: 'network',
  f_timeout: 'timeout upstream_timeout deadline_exceeded',
  f_interrupted: 'interrupted',
  f_paid: 'paid',
  f_session: 'auth_required token_expired token_invalid api_key_not_accepted',
  f_forbidden: 'anonymous_not_allowed oauth_client_not_allowed user_blocked',
  f_limit: 'rate_limited',
  f_daily: 'daily_limit',
  f_places: 'too_many_running',
  f_budget: 'budget_exhausted',
  f_credits: 'insufficient_credits',
  f_content: 'content_rejected',
  f_input: 'upstream_rejected_input',
  f_photo: 'invalid_image',
  f_link: 'invalid_url',
  f_large: 'payload_too_large image_too_large',
  f_model: 'model_not_allowed',
  f_request: 'invalid_json invalid_request unsupported_media_type task_id_reused method_not_allowed route_not_found',
  f_running: 'task_in_progress',
  f_repeated: 'task_already_completed',
  f_busy: 'upstream_busy upstream_unreachable',
  f_upstream: 'upstream_error upstream_protocol_error stream_interrupted internal_error',
  f_noImage: 'no_image',
  f_service: 'auth_unavailable limiter_unavailable service_unavailable service_misconfigured http_429 http_502 http_503 http_504',
  f_protocol: 'protocol',
  f_cancelled: 'cancelled aborted',
  f_left: 'client_closed task_not_found',
};
const BY_CODE = new Map(Object.entries(FAILURES).flatMap(([word, codes]) => codes.split(' ').map((code) => [code, word as Word])));

/** The sentences for a failure. */
export function failureWord(code: string, isPaid = false): Word {
  return isPaid ? 'f_paid' : (BY_CODE.get(code) ?? 'f_unknown');
}

/** The title of a failure, in the current language. */
export const failureTitle = (code: string): string => t(failureWord(code), 0);

/** Failures that the same request meets again, at least today: there is no retry, only a change. */
const PERMANENT = /^f_(content|input|photo|link|large|model|request|forbidden|credits|daily|budget)$/;
export const isPermanent = (error: Pick<ImageStreamError, 'code'>): boolean => PERMANENT.test(failureWord(error.code));

/** Failures after which the key has no use: the next attempt is another task. */
export const needsNewKey = (code: string): boolean => /^(paid|task_already_completed|task_id_reused)$/.test(code);
