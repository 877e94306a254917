export { createImageClient, toDataUrl, } from './client.js';
export { ImageStreamError } from './errors.js';
