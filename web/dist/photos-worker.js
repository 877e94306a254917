import { shrink } from './shrink.js';
addEventListener('message', ({ data }) => {
    shrink(...data).catch(({ message }) => message).then((reply) => postMessage(reply));
});
