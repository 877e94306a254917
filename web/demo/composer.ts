// The form.
import { preparePhotos } from '../src/photos.js';
import type { Config } from './config.js';
import { h, hush, isComposing, placeholder, say } from './dom.js';
import type { Mode, PageRequest, Photo } from './memory.js';
import { createTray } from './tray.js';
import type { Say, Word } from './words.js';

export interface Composer {
  element: HTMLElement;
  /** Fills the form in. */
  set(request: PageRequest): void;
  setPrompt(prompt: string): void;
  addPhotos(photos: readonly (Blob | string)[]): Promise<void>;
  setState(state: 'ready' | 'running'): void;
  /** Disables the button for as many more seconds; 0 enables it. */
  hold(seconds: number): void;
  focus(): void;
}

const RATIOS = ['', '1:1', '4:5', '3:4', '2:3', '9:16', '5:4', '4:3', '3:2', '16:9', '21:9'];
const MAX_PROMPT = 4000;
const MAX_PHOTO_BYTES = 4_200_000;
const PLACES: Record<Mode, number> = { words: 3, faces: 10 };

type Draft = Omit<PageRequest, 'taskId' | 'at'>;

/** @param limits shows the user's limit and credits */
export function createComposer(config: Config, limits: HTMLElement, onSubmit: (draft: Draft) => void): Composer {
  let mode: Mode = 'words';
  let state: 'ready' | 'running' = 'ready';
  let held = 0;
  /** Counts the calls of `set`: the form may be another user's by the time its photos are ready. */
  let round = 0;

  const trays = { words: createTray('referencePhotos', true, PLACES.words), faces: createTray('facePhotos', false, PLACES.faces) };
  const prompt = h('textarea', { id: 'prompt', rows: 4, placeholder: 'promptHint', 'aria-describedby': 'prompt-problem prompt-count' });
  const promptCount = h('span', { id: 'prompt-count', class: 'count' });
  const promptProblem = h('p', { id: 'prompt-problem', class: 'field-problem', role: 'alert' });
  const links = h('textarea', { id: 'links', rows: 3, placeholder: 'linksHint', spellcheck: 'false', inputmode: 'url', 'aria-describedby': 'links-problem' });
  const linksProblem = h('p', { id: 'links-problem', class: 'field-problem', role: 'alert' });

  /** Radio buttons in a row. */
  function choice(name: string, title: Word, values: readonly string[], text: (value: string) => Say | string, extra?: (value: string) => Node): HTMLFieldSetElement {
    const options = values.map((value, position) => {
      const shown = text(value);
      const input = h('input', { type: 'radio', name, value, checked: position === 0 });
      const words = typeof shown === 'string' ? h('span', {}, shown) : h('span', { say: shown });
      return h('label', { class: 'option' }, input, extra?.(value), words);
    });
    return h('fieldset', { class: 'field' }, h('legend', { class: 'field-head' }, h('span', { say: title })), h('div', { class: `options options-${name}` }, ...options));
  }

  const ratio = choice('ratio', 'aspectRatio', RATIOS, (value) => value || ['ratioAuto'], (value) => {
    const glyph = h('span', { class: 'ratio-glyph', 'aria-hidden': 'true' });
    if (value) glyph.style.aspectRatio = value.replace(':', ' / ');
    glyph.dataset.tall = `${/^(4:5|3:4|2:3|9:16)$/.test(value)}`;
    return glyph;
  });
  const count = choice('count', 'count', ['1', '2', '3', '4'], (value) => value);
  const models = config.models ?? [];
  const model = h('select', { id: 'model' }, ...models.map((name) => h('option', { value: name }, name)));
  const modes = h(
    'fieldset',
    { class: 'modes', hidden: config.faceSwap === false },
    h('legend', { class: 'unseen', say: 'mode' }),
    ...(['words', 'faces'] as const).map((value) =>
      h('label', { class: 'option' }, h('input', { type: 'radio', name: 'mode', value, checked: value === mode }), h('span', { say: value === 'words' ? 'fromWords' : 'faceSwap' })),
    ),
  );
  const submit = h('button', { type: 'submit', class: 'button primary generate' }, h('span', { say: 'generate' }), h('kbd', { 'aria-hidden': 'true', say: ['shortcut', /Mac|iP/.test(navigator.platform) ? '⌘' : 'Ctrl'] }));

  const linksField = h('div', { class: 'field' }, h('label', { class: 'field-head', for: 'links' }, h('span', { say: 'photoLinks' }), h('small', { say: 'optional' })), links, linksProblem);
  const promptLabel = h('label', { class: 'field-head', for: 'prompt' }, h('span', { say: 'prompt' }), h('small', { say: 'optional', hidden: true }), promptCount);
  const promptField = h('div', { class: 'field' }, promptLabel, prompt, promptProblem);
  const photosField = h('div', { class: 'photos' }, trays.words.element, trays.faces.element, linksField);
  const settings = h(
    'div',
    { class: 'settings' },
    ratio,
    h('div', { class: 'settings-row' }, count, models.length > 1 && h('div', { class: 'field' }, h('label', { class: 'field-head', for: 'model' }, h('span', { say: 'model' })), model)),
  );
  const form = h(
    'form',
    { class: 'composer', novalidate: true, 'aria-labelledby': 'compose-title' },
    h('h2', { id: 'compose-title', class: 'unseen', say: 'compose' }),
    modes,
    promptField,
    photosField,
    settings,
    h('div', { class: 'send' }, submit, limits),
  );

  const chosen = (name: string): string => form.querySelector<HTMLInputElement>(`[name=${name}]:checked`)!.value;
  function choose(name: string, value: string): void {
    const input = [...form.querySelectorAll<HTMLInputElement>(`[name=${name}]`)].find((option) => option.value === value);
    if (input) input.checked = true;
  }

  function render(): void {
    const isWords = mode === 'words';
    trays.words.element.hidden = !isWords;
    trays.faces.element.hidden = isWords;
    linksField.hidden = isWords;
    settings.hidden = !isWords;
    // The required field comes first.
    if (isWords) photosField.before(promptField);
    else photosField.after(promptField);
    promptLabel.querySelector<HTMLElement>('small')!.hidden = isWords;
    placeholder(prompt, isWords ? 'promptHint' : 'facePromptHint');
    showCount();
    showSubmit();
  }

  function showSubmit(): void {
    submit.setAttribute('aria-disabled', `${state === 'running' || held > 0}`);
    if (state === 'ready' && held) say(submit.firstElementChild!, 'waiting', held);
    else say(submit.firstElementChild!, state === 'running' ? 'generating' : 'generate');
  }

  function showCount(): void {
    const length = [...prompt.value.trim()].length;
    say(promptCount, 'promptCount', length, MAX_PROMPT);
    promptCount.dataset.over = `${length > MAX_PROMPT}`;
  }

  /** Marks a field as wrong and moves the focus to it. Returns false. */
  function complain(problem: HTMLElement, field: HTMLElement, ...text: Say): false {
    say(problem, ...text);
    field.setAttribute('aria-invalid', 'true');
    field.focus();
    return false;
  }

  function linkList(): string[] | undefined {
    const lines = links.value.split('\n').map((line) => line.trim()).filter(Boolean);
    const wrong = lines.findIndex((line) => !/^https:\/\/[^\s/]+\.[^\s]+$/.test(line));
    if (wrong >= 0) complain(linksProblem, links, 'badLink', wrong + 1);
    return wrong >= 0 ? undefined : lines;
  }

  async function send(): Promise<void> {
    if (state !== 'ready' || held) return;
    for (const problem of [promptProblem, linksProblem]) hush(problem);
    for (const field of [prompt, links]) field.removeAttribute('aria-invalid');
    const text = prompt.value.trim();
    if (mode === 'words' && !text) return void complain(promptProblem, prompt, 'needPrompt');
    if ([...text].length > MAX_PROMPT) return void complain(promptProblem, prompt, 'promptTooLong', MAX_PROMPT);
    const urls = mode === 'faces' ? linkList() : [];
    if (!urls) return;
    composer.setState('running');
    const isWords = mode === 'words';
    const tray = trays[mode];
    const mine = round;
    // What is still being scaled down belongs to the request. Where it cannot be used, the tray says so.
    const areUsable = await tray.settled();
    if (mine !== round) return;
    let photos = [...urls.map((url) => ({ url })), ...tray.photos()];
    const wrong = !isWords && (photos.length > PLACES.faces ? 'tooManyFaces' : !photos.length && 'needPhoto');
    if (!areUsable || wrong) {
      composer.setState('ready');
      return void (areUsable && wrong && complain(linksProblem, links, wrong, PLACES.faces));
    }
    try {
      photos = await fitting(photos);
      if (mine !== round) return;
    } catch {
      composer.setState('ready');
      return void complain(promptProblem, prompt, 'f_photo', 0);
    }
    onSubmit({
      mode: isWords ? 'words' : 'faces',
      prompt: text,
      n: isWords ? +chosen('count') : (config.faceSwapPictures ?? 3),
      ratio: isWords ? chosen('ratio') : '',
      model: isWords ? model.value : '',
      photos,
    });
  }

  form.addEventListener('submit', (event) => {
    event.preventDefault();
    void send();
  });
  form.addEventListener('change', (event) => {
    if ((event.target as HTMLInputElement).name !== 'mode') return;
    mode = chosen('mode') as Mode;
    render();
  });
  prompt.addEventListener('input', showCount);
  form.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey) || isComposing(event)) return;
    event.preventDefault();
    void send();
  });
  const composer: Composer = {
    element: form,
    set(request) {
      round++;
      mode = request.mode;
      choose('mode', mode);
      prompt.value = request.prompt;
      if (mode === 'words') {
        choose('count', `${request.n}`);
        choose('ratio', request.ratio);
        if (models.includes(request.model)) model.value = request.model;
      }
      const isLink = (photo: Photo): photo is { url: string } => 'url' in photo;
      links.value = mode === 'faces' ? request.photos.filter(isLink).map(({ url }) => url).join('\n') : '';
      trays.words.set(mode === 'words' ? request.photos : []);
      trays.faces.set(mode === 'faces' ? request.photos.filter((photo) => !isLink(photo)) : []);
      render();
    },
    setPrompt(text) {
      prompt.value = text;
      showCount();
      prompt.focus();
    },
    addPhotos: (photos) => trays[mode].add(photos),
    setState(next) {
      state = next;
      showSubmit();
    },
    hold(seconds) {
      held = seconds;
      showSubmit();
    },
    focus: () => prompt.focus(),
  };
  render();
  return composer;
}

/** The photos, scaled down further where all of them together are too large for one request. */
async function fitting(photos: Photo[]): Promise<Photo[]> {
  const blobs = photos.flatMap((photo) => ('blob' in photo ? [photo.blob] : []));
  if (blobs.reduce((sum, { size }) => sum + size, 0) <= MAX_PHOTO_BYTES) return photos;
  const smaller = await preparePhotos(blobs, { workerUrl: new URL('photos-worker.js', document.baseURI) });
  return photos.map((photo) => {
    if (!('blob' in photo)) return photo;
    const { blob, width, height } = smaller.shift()!;
    return { blob, width, height, before: photo.before };
  });
}
