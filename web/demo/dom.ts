// Elements, and the text on them. A text is kept as its key, so that a change of language needs no new elements.
import { t, type Say, type Word } from './words.js';

/** Attributes that hold a sentence: `say` is the text itself. */
const SPOKEN = { say: '', label: 'aria-label', hint: 'title', alternative: 'alt', placeholder: 'placeholder' } as const;
type Spoken = keyof typeof SPOKEN;
type Child = Node | string | null | undefined | false;
export type Props = { [name in Spoken]?: Say | Word } & { [name: string]: unknown };

export function h<K extends keyof HTMLElementTagNameMap>(tag: K, props: Props = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === false || value === null) continue;
    if (name in SPOKEN) speak(element, name as Spoken, value as Say | Word);
    else if (name.startsWith('on')) element.addEventListener(name.slice(2), value as EventListener);
    else element.setAttribute(name, value === true ? '' : `${value}`);
  }
  element.append(...children.filter((child): child is Node | string => !!child || child === ''));
  return element;
}

function speak(element: Element, name: Spoken, value: Say | Word): void {
  const [key, ...values] = typeof value === 'string' ? ([value] as const) : value;
  element.setAttribute(`data-${name}`, JSON.stringify([key, ...values]));
  render(element, name, t(key, ...values));
}

function render(element: Element, name: Spoken, text: string): void {
  if (name !== 'say') element.setAttribute(SPOKEN[name], text);
  else if (element.textContent !== text) element.textContent = text;
}

/** Sets the text of `element`. */
export function say(element: Element, key: Word, ...values: (string | number)[]): void {
  speak(element, 'say', [key, ...values]);
}

/** Sets the label for screen readers. */
export function label(element: Element, key: Word, ...values: (string | number)[]): void {
  speak(element, 'label', [key, ...values]);
}

/** Sets the text of an empty field. */
export function placeholder(element: Element, key: Word): void {
  speak(element, 'placeholder', key);
}

/** Removes the text of `element`. */
export function hush(element: Element): void {
  element.removeAttribute('data-say');
  element.textContent = '';
}

/** Writes every text anew, after a change of language. */
export function translate(root: ParentNode): void {
  for (const name of Object.keys(SPOKEN) as Spoken[]) {
    for (const element of root.querySelectorAll(`[data-${name}]`)) {
      const [key, ...values] = JSON.parse(element.getAttribute(`data-${name}`)!) as [Word, ...(string | number)[]];
      render(element, name, t(key, ...values));
    }
  }
}

/** Whether a key belongs to an input method. In Safari the key that ends the text has only a key code. */
export const isComposing = (event: KeyboardEvent): boolean => event.isComposing || event.keyCode === 229;

/** Outlines of 24 by 24. */
const ICONS = {
  plus: 'M12 5v14M5 12h14',
  close: 'M6 6l12 12M18 6L6 18',
  download: 'M12 4v11m0 0l-4.5-4.5M12 15l4.5-4.5M5 19.5h14',
  copy: 'M9 9h10v10H9zM5 15V5h10',
  reference: 'M4 5h16v14H4zM4 16l5-5 4 4 2-2 5 4M15.5 9.5h.01',
  retry: 'M19 12a7 7 0 1 1-2.1-5M19 4v4h-4',
  edit: 'M5 19l1-4L16 5l3 3L9 18z',
  previous: 'M14.5 5l-7 7 7 7',
  next: 'M9.5 5l7 7-7 7',
  sun: 'M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4',
  moon: 'M19.5 14A8 8 0 0 1 10 4.5a8 8 0 1 0 9.5 9.5z',
  person: 'M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM4.5 20a7.5 7.5 0 0 1 15 0',
  alert: 'M12 7v6M12 16.5v.01M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z',
  trash: 'M5 7h14M10 7V4.5h4V7M7 7l1 12.5h8L17 7',
  stop: 'M7 7h10v10H7z',
  flask: 'M10 3.5v6L5 19a1 1 0 0 0 1 1.5h12A1 1 0 0 0 19 19l-5-9.5v-6M8.5 3.5h7M7.5 15h9',
} as const;
export type Icon = keyof typeof ICONS;

export function icon(name: Icon): SVGSVGElement {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS(svg.namespaceURI, 'path');
  path.setAttribute('d', ICONS[name]);
  svg.append(path);
  return svg;
}

/** A button with an icon and a text. */
export function button(kind: string, name: Icon | undefined, text: Word, onclick: () => void): HTMLButtonElement {
  return h('button', { type: 'button', class: `button ${kind}`, onclick }, name && icon(name), h('span', { say: text }));
}

/** A button with an icon alone. */
export function iconButton(name: Icon, text: Say | Word, onclick: () => void, kind = ''): HTMLButtonElement {
  return h('button', { type: 'button', class: `icon-button ${kind}`, label: text, hint: text, onclick }, icon(name));
}

const status = h('div', { role: 'status', class: 'unseen' });
const toast = h('div', { class: 'toast', 'aria-hidden': 'true', hidden: true });
let toastTimer: ReturnType<typeof setTimeout> | undefined;
document.body.append(status, toast);

/** Writes a sentence for screen readers only. */
export function announce(...[key, ...values]: Say): void {
  say(status, key, ...values);
}

/** Shows a sentence for four seconds, and writes it for screen readers. */
export function notify(...text: Say): void {
  announce(...text);
  say(toast, ...text);
  toast.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (toast.hidden = true), 4000);
}
