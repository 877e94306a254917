/** The codes of a call that may have reached the server. */
export const LOST = /^(network|timeout|interrupted)$/;
/** Every failure of this package. Decide by `code`, show `message`. */
export class ImageStreamError extends Error {
    constructor(code, message, details) {
        super(message);
        Object.assign(this, { name: 'ImageStreamError', code, retryable: LOST.test(code), images: [] }, details);
    }
}
/** The browser's language, else Chinese. */
export const preferredLanguage = () => /\b(zh|en)\b/.exec(`${globalThis.navigator?.languages}`)?.[0] ?? 'zh';
// Chinese and English.
const SENTENCES = {
    network: '网络连接失败|Network failure',
    timeout: '等待超时|Timed out',
    aborted: '已取消|Cancelled',
    protocol: '无法识别服务器的响应|Unknown answer',
    interrupted: '连接中断，图片不完整|Connection broken',
    payload_too_large: '图片太大，请先缩小|Pictures too large',
    failed: '生成失败|Generation failed',
};
export function failIn(language) {
    return (code, details, note = SENTENCES[code] ? '' : code) => {
        const sentence = (SENTENCES[code] ?? SENTENCES.failed).split('|')[+(language === 'en')];
        return new ImageStreamError(code, note ? `${sentence} (${note})` : sentence, details);
    };
}
/** The failure that `problem` describes, with all of its members, or one of `code` if it describes none. */
export function fromProblem(problem, code, fail, details) {
    const { code: own, error, message, images: _, ...rest } = ((typeof problem.error === 'object' && problem.error) || problem);
    const known = /^[a-z]\w+$/.exec(`${own ?? ''}`)?.[0] ?? code;
    const reason = [error, message].find((text) => typeof text === 'string');
    const all = { ...details, ...rest };
    return reason ? new ImageStreamError(known, reason, all) : fail(known, all);
}
