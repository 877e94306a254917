// A DOM for the two frameworks, with the network of Node.
import { Window } from 'happy-dom';

export function installDom() {
  const window = new Window({ url: 'http://localhost/' });
  const revoked = new Set();
  const created = new Set();
  const { fetch, AbortController } = globalThis;
  for (const name of ['document', 'HTMLElement', 'Element', 'Node', 'SVGElement', 'Event', 'ShadowRoot', 'MathMLElement']) globalThis[name] = window[name] ?? class {};
  globalThis.window = window;
  globalThis.navigator ??= window.navigator;
  URL.createObjectURL = (blob) => {
    const url = `blob:${created.size}:${blob.size}`;
    created.add(url);
    return url;
  };
  URL.revokeObjectURL = (url) => revoked.add(url);
  Object.assign(globalThis, { fetch, AbortController });
  return { window, created, revoked, root: window.document.body.appendChild(window.document.createElement('div')) };
}

export async function until(check, ms = 5000) {
  const end = Date.now() + ms;
  for (;;) {
    const value = check();
    if (value) return value;
    if (Date.now() > end) throw new Error(`not within ${ms} ms: ${check}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
