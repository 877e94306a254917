/** Makes the result of a task that has ended in the log. Pictures that are nowhere any more are in `failed`. */
export function settle(answer, item, fail, lost) {
    const { status, code = 'upstream_error', images } = item;
    if (status === 'failed')
        throw fail(code, { retryable: !/reject|invalid|cancel/.test(code) });
    const slots = slotsOf(item, answer.images());
    const broken = fail('interrupted', { paid: true, retryable: false });
    if (!slots.size)
        throw lost?.code === 'task_already_completed' ? lost : broken;
    const failed = [];
    for (let index = 0; slots.size + failed.length < images; index++) {
        if (!slots.has(index))
            failed.push({ index, code: broken.code, message: broken.message });
    }
    answer.finish({ images: [...slots.values()].sort((a, b) => a.index - b.index), failed });
    answer.result.resumed = true;
}
/**
 * The picture of each slot: the kept copy, else what `received` has, else ARK's link. The log lists the links without
 * their slots.
 */
export function slotsOf({ taskId, images, pictures = [], urls = [] }, received) {
    // Behind a draft the final picture may have been lost. A kept picture that has expired has no link.
    const known = [...received.filter(({ draft }) => !draft), ...pictures.filter(({ url }) => url)];
    const slots = new Map(known.map((image) => [image.index, image]));
    for (const [index, url] of urls.entries()) {
        if (slots.size < images && !slots.has(index))
            slots.set(index, { taskId, index, url });
    }
    return slots;
}
