// The tools of the local stack: shape, fault, user, session, and the drawn pictures beside those that arrived.
import type { LocalConfig } from './config.js';
import { button, h, icon, notify, say } from './dom.js';
import type { PictureActions, ShownPicture } from './pictures.js';
import type { Session } from './session.js';
import { sizeOf, type Say, type Word } from './words.js';

export interface Bench {
  element: HTMLElement;
  /** The model with the chosen shape. */
  model(name: string): string;
  /** The name of the chosen fault; empty for none. */
  fault(): string;
  showUser(email: string): void;
  /** Leaves out the pictures drawn before a run. */
  begin(): void;
  compare(arrived: ShownPicture[]): Promise<void>;
}

/** A picture that a fake upstream has drawn. */
interface Drawing {
  number: number;
  sha256: string;
  media_type: string;
  bytes: number;
  width: number;
  height: number;
}

export function createBench({ users, shapes, faults }: LocalConfig, session: Session, actions: PictureActions, switchUser: (email: string) => Promise<void>): Bench {
  let seen = 0;
  let last: Promise<unknown> = read();

  const choices = (id: string, none: Word, values: string[]): HTMLSelectElement =>
    h('select', { id }, h('option', { value: '', say: none }), ...values.map((value) => h('option', { value }, value)));
  const shape = choices('bench-shape', 'benchNone', shapes);
  const fault = choices('bench-fault', 'benchNoFault', faults);
  const user = h('select', { id: 'bench-user' }, ...users.map((email) => h('option', { value: email }, email)), h('option', { value: '', say: 'benchOther' }));
  const word = h('input', { id: 'bench-word', pattern: '[a-z0-9]{1,32}', maxlength: 32, spellcheck: 'false', autocapitalize: 'off', label: 'benchWord', placeholder: 'benchWord' });
  const other = h('form', { class: 'bench-other', hidden: true }, word, h('button', { type: 'submit', class: 'button quiet' }, h('span', { say: 'benchSwitch' })));
  const pairs = h('div', { class: 'pairs' }, h('p', { class: 'bench-note', say: 'benchNothing' }));
  const field = (name: Word, input: HTMLElement): HTMLElement => h('div', { class: 'field' }, h('label', { class: 'field-head', for: input.id }, h('span', { say: name })), input);
  const element = h(
    'details',
    { class: 'bench' },
    h('summary', {}, icon('flask'), h('span', { say: 'bench' }), h('small', { say: 'benchLead' })),
    h(
      'div',
      { class: 'bench-body' },
      field('benchShape', shape),
      field('benchFault', fault),
      field('benchUser', user),
      other,
      h('div', { class: 'bench-buttons' }, button('quiet', undefined, 'benchExpire', () => void damage(false)), button('quiet', undefined, 'benchEnd', () => void damage(true))),
      pairs,
    ),
  );

  user.addEventListener('change', () => {
    other.hidden = !!user.value;
    if (user.value) void switchUser(user.value);
    else word.focus();
  });
  other.addEventListener('submit', (event) => {
    event.preventDefault();
    if (word.checkValidity() && word.value) void switchUser(`demo+${word.value}@example.com`);
  });

  async function damage(isEnded: boolean): Promise<void> {
    const response = await fetch(`dev/expired-token?email=${encodeURIComponent(session.user()?.email ?? '')}`);
    session.damage(await response.text(), isEnded);
    notify(isEnded ? 'benchEnded' : 'benchExpired');
  }

  /** The pictures drawn since the last call. */
  async function read(): Promise<Drawing[]> {
    const response = await fetch(`dev/drawings?after=${seen}`);
    const drawings = (await response.json()) as Drawing[];
    seen = drawings.at(-1)?.number ?? seen;
    return drawings;
  }

  async function hashOf({ image }: ShownPicture): Promise<string | undefined> {
    if (image.sha256) return image.sha256;
    if (!globalThis.crypto?.subtle) return undefined;
    const digest = await crypto.subtle.digest('SHA-256', await (await actions.bytes(image)).arrayBuffer());
    return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('');
  }

  const describe = ({ image: { bytes, width, height } }: ShownPicture): string => [width && `${width}×${height}`, bytes && sizeOf(bytes)].filter(Boolean).join(' · ');
  const side = (src: string | undefined, ...lines: string[]): HTMLElement =>
    h('div', { class: 'side' }, h('span', { class: 'print' }, src && h('img', { src, alt: '' })), ...lines.map((line) => h('span', { class: 'size' }, line)));

  function pair(drawing: Drawing | undefined, arrived: ShownPicture | undefined, hash: string | undefined, text: Say, isGood: boolean): HTMLElement {
    const { bytes, width, height, sha256 } = drawing ?? {};
    const verdict = h('p', { class: 'verdict', 'data-good': `${isGood}` });
    say(verdict, ...text);
    return h(
      'li',
      { class: 'pair' },
      side(drawing && `dev/drawings/${drawing.number}`, drawing ? `${width}×${height} · ${sizeOf(bytes!)}` : '–', sha256?.slice(0, 12) ?? ''),
      side(arrived?.src, arrived ? describe(arrived) : '–', hash?.slice(0, 12) ?? ''),
      verdict,
    );
  }

  return {
    element,
    model: (name) => (name && shape.value ? `${name}@${shape.value}` : name),
    fault: () => fault.value,
    showUser(email) {
      if (![...user.options].some(({ value }) => value === email)) user.prepend(h('option', { value: email }, email));
      user.value = email;
      other.hidden = true;
    },
    begin() {
      last = last.then(read).catch(() => {});
    },
    async compare(arrived) {
      await last;
      const hashes = await Promise.all(arrived.map((picture) => hashOf(picture).catch(() => undefined)));
      const drawings = await read().catch(() => []);
      const rest = arrived.map((picture, index) => ({ picture, hash: hashes[index] }));
      const rows = drawings.map((drawing) => {
        const found = rest.findIndex(({ hash }) => hash === drawing.sha256);
        const [match] = found >= 0 ? rest.splice(found, 1) : [];
        return pair(drawing, match?.picture, match?.hash, [match ? 'benchSame' : 'benchMissing'], !!match);
      });
      for (const { picture, hash } of rest) rows.push(pair(undefined, picture, hash, [hash ? 'benchForeign' : 'benchUnchecked'], false));
      if (rows.length) pairs.replaceChildren(h('p', { class: 'pairs-head' }, h('span', { say: 'benchDrawn' }), h('span', { say: 'benchArrived' })), h('ul', {}, ...rows));
    },
  };
}
