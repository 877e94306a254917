'use client';

import { useRef, useState, type FormEvent } from 'react';
import type { ImageStreamPicture, ImageStreamStatus } from 'image-gateway-client/image-stream';
import { client, generateImageStream } from '@/lib/image-stream';
import type { Texts } from '@/lib/text';

interface Task {
  /** The idempotency key: a retry sends the same task, so nothing is paid twice. */
  taskId: string;
  prompt: string;
  imageInputs: File[];
}

export default function CreatePage({ t }: { t: Texts }) {
  const [prompt, setPrompt] = useState('');
  const [photos, setPhotos] = useState<File[]>([]);
  const [status, setStatus] = useState<ImageStreamStatus>();
  const [received, setReceived] = useState(0);
  const [picture, setPicture] = useState<ImageStreamPicture | null>(null);
  const [failure, setFailure] = useState<{ message: string; retryable?: boolean }>();
  const [isRunning, setIsRunning] = useState(false);
  const [task, setTask] = useState<Task>();
  const reading = useRef<AbortController>(undefined);

  async function generate(task: Task) {
    if (isRunning) return;
    setTask(task);
    setIsRunning(true);
    setFailure(undefined);
    setPicture(null);
    setReceived(0);
    reading.current = new AbortController();
    try {
      const result = await generateImageStream({
        ...task,
        signal: reading.current.signal,
        onProgress: (content) => setReceived(Math.round(content.length / 1365)), // base64
        onStatus: setStatus,
      });
      setPicture(result.imageData);
    } catch (error) {
      setFailure(error as Error);
    } finally {
      setIsRunning(false);
    }
  }

  /** Stops reading, and asks the service to stop. */
  function stop() {
    reading.current?.abort();
    if (task) client.cancel(task.taskId).catch(() => {}); // It may have ended.
  }

  function submit(event: FormEvent) {
    event.preventDefault();
    // `crypto.randomUUID` is missing on a page without TLS.
    void generate({ taskId: crypto.getRandomValues(new Uint32Array(4)).join('-'), prompt, imageInputs: photos });
  }

  return (
    <>
      <form onSubmit={submit}>
        <label>
          {t.prompt}
          <textarea required maxLength={4000} placeholder={t.example} value={prompt} onChange={(event) => setPrompt(event.target.value)} />
        </label>
        <label>
          {t.photos}
          <input type="file" accept="image/*" multiple onChange={(event) => setPhotos([...(event.target.files ?? [])].slice(0, 3))} />
        </label>
        <div className="row">
          <button className="primary" disabled={isRunning}>{t.generate}</button>
          {isRunning && <button type="button" onClick={stop}>{t.cancel}</button>}
        </div>
        <p role="status">
          {status && t[status]} {isRunning && received > 0 && t.received(received)}
        </p>
        {isRunning && <progress />}
        {failure && (
          <div className="row">
            <p role="alert">{failure.message}</p>
            {failure.retryable && task && <button type="button" onClick={() => generate(task)}>{t.retry}</button>}
          </div>
        )}
      </form>
      {picture && task && (
        <figure>
          <img src={picture.dataUrl} alt={task.prompt} />
          <a href={picture.dataUrl} download={`${task.taskId}.${picture.mediaType.split('/')[1]}`}>{t.download}</a>
        </figure>
      )}
    </>
  );
}
