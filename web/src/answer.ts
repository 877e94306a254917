import { decodeBase64 } from './base64.js';
import { fromProblem, type Fail, type Problem } from './errors.js';
import { parseWire, type FailedImage, type GeneratedImage, type ImageEvent, type ImageResult, type Usage } from './events.js';
import type { SseEvent } from './sse.js';

/** A slot whose picture is arriving. */
interface OpenPicture {
  parts: BlobPart[];
  bytes: number;
  mediaType: string | undefined;
  previewedAt: number;
}

/** `data` of a typed event, under the names of TypeScript. Nothing in it is certain. */
export interface WireData extends Partial<GeneratedImage>, Problem {
  event?: string;
  data?: WireData;
  n?: number;
  text?: string;
  b64?: string;
  images?: WireData[];
  generatedImages?: WireData[];
  failed?: FailedImage[];
  usage?: Usage;
  creditsRemaining?: number;
}

/** The pictures of one answer, and the events they make. */
export interface Answer {
  /** Reads a typed event. */
  read(event: SseEvent): void;
  /** The events since the last call. */
  take(): ImageEvent[];
  begin(picture: { index: number; mediaType?: string }): void;
  /** Adds base64 that decodes on its own to the picture of a slot, and returns its bytes. */
  add(index: number, b64: string): Uint8Array;
  /** Ends the picture that arrives in a slot, if any, and forgets it. */
  close(index: number): Blob | undefined;
  whole(image: GeneratedImage): void;
  text(index: number, text: string): void;
  /** Makes the result of what is whole and of what `data` lists. */
  finish(data: WireData): void;
  /** The pictures that are whole, one for each slot. */
  images(): GeneratedImage[];
  /** Set by the terminal event of a success. */
  result: ImageResult | undefined;
}

/** @param previewIntervalMs the time between two previews of a picture; 0 for none */
export function createAnswer(taskId: string, fail: Fail, previewIntervalMs: number): Answer {
  const open = new Map<number, OpenPicture>();
  const finals = new Map<number, GeneratedImage>();
  const drafts = new Map<number, GeneratedImage>();
  let allText = '';
  const out: ImageEvent[] = [];

  function readTyped(name: string, data: WireData): void {
    const index = data.index!;
    switch (name) {
      case 'error':
        throw fromProblem(data, 'upstream_error', fail, {});
      case 'start':
      case 'process':
        out.push({ ...data, type: name } as ImageEvent);
        break;
      case 'text':
        answer.text(index, data.text ?? '');
        break;
      case 'image.start':
        answer.begin({ ...data, index });
        break;
      case 'image.delta':
        answer.add(index, data.b64!);
        break;
      case 'image.done': {
        const blob = answer.close(index);
        if (!data.url && blob?.size !== (data.bytes ?? NaN)) throw fail('protocol');
        answer.whole({ ...data, taskId, index, ...(!data.url && { blob: blob! }) });
        break;
      }
      case 'image.stored':
        Object.assign(finals.get(index) ?? {}, data);
        out.push({ ...data, type: 'stored' } as ImageEvent);
        break;
      case 'done':
        answer.finish(data);
    }
  }

  const answer: Answer = {
    result: undefined,
    read({ event, data }) {
      const value = parseWire(data) as WireData;
      if (value.event && value.data) readTyped(value.event, value.data);
      else readTyped(value.error ? 'error' : event, value);
    },
    take: () => out.splice(0),
    begin(picture) {
      open.set(picture.index, { parts: [], bytes: 0, mediaType: picture.mediaType, previewedAt: Date.now() });
      out.push({ draft: false, ...picture, type: 'image-start' });
    },
    add(index, b64) {
      const picture = open.get(index);
      if (!picture) throw fail('protocol');
      const bytes = decodeBase64(b64);
      picture.parts.push(bytes);
      const receivedBytes = (picture.bytes += bytes.length);
      out.push({ type: 'progress', index, receivedBytes, b64 });
      if (previewIntervalMs && Date.now() - picture.previewedAt >= previewIntervalMs) {
        const blob = toBlob(picture);
        picture.parts = [blob];
        picture.previewedAt = Date.now();
        out.push({ type: 'preview', index, blob, receivedBytes });
      }
      return bytes;
    },
    close(index) {
      const picture = open.get(index);
      open.delete(index);
      return picture && toBlob(picture);
    },
    whole(image) {
      (image.draft ? drafts : finals).set(image.index, image);
      out.push({ type: 'image', index: image.index, image });
    },
    text(index, text) {
      allText += text;
      out.push({ type: 'text', index, text });
    },
    // `images` has the final picture of each slot. The documented form of faceflip has `generated_images` alone.
    finish({ images, generatedImages, ...rest }) {
      const final = (images ?? generatedImages ?? []).map((entry, position): GeneratedImage => {
        const index = entry.index ?? position;
        const known = [finals.get(index), drafts.get(index)].find(
          (image) => image && (!entry.sha256 || image.sha256 === entry.sha256),
        );
        const image = { ...known, ...entry, taskId, index };
        if (!image.blob && !image.url) throw fail('protocol');
        if (!known) out.push({ type: 'image', index, image });
        return image;
      });
      if (!final.length) throw fail('no_image');
      answer.result = { failed: [], ...rest, taskId, images: final, text: allText, resumed: false };
    },
    images: () => [...new Map([...drafts, ...finals]).values()],
  };
  return answer;
}

function toBlob({ parts, mediaType = '' }: OpenPicture): Blob {
  return new Blob(parts, { type: mediaType });
}
