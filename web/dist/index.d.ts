export { createImageClient, toDataUrl, type BlobOptions, type FaceflipRequest, type GenerateRequest, type ImageClient, type ImageClientOptions, type ImageClientUrls, } from './client.js';
export { ImageStreamError, type Language } from './errors.js';
export type { FailedImage, GeneratedImage, Generation, GenerationPage, ImageEvent, ImageResult, Usage, } from './events.js';
export type { TokenSource } from './request.js';
export type { ImageRun, RetryOptions, RunOptions } from './run.js';
