// The top of the page, with the language and the theme.
import { h, icon, label, translate } from './dom.js';
import { setSetting, setting } from './memory.js';
import { currentLanguage, locale, setLanguage, t, type Language } from './words.js';

const dark = matchMedia('(prefers-color-scheme: dark)');

function chooseLanguage(language: Language): void {
  setLanguage(language);
  document.documentElement.lang = locale();
  document.title = t('name');
  translate(document);
}

function chooseTheme(theme: 'light' | 'dark'): void {
  document.documentElement.dataset.theme = theme;
}

/** @param tools the tools of a signed-in user */
export function createHeader(tools: HTMLElement): HTMLElement {
  chooseTheme(setting('theme') ?? (dark.matches ? 'dark' : 'light'));
  chooseLanguage(setting('language') ?? (/^zh\b/.test(navigator.language) ? 'zh' : 'en'));
  const language = h('button', {
    type: 'button', class: 'button plain', say: 'otherLanguage', label: 'switchLanguage',
    onclick() {
      const next = currentLanguage() === 'zh' ? 'en' : 'zh';
      setSetting('language', next);
      chooseLanguage(next);
      language.lang = next === 'zh' ? 'en' : 'zh-CN';
    },
  });
  language.lang = currentLanguage() === 'zh' ? 'en' : 'zh-CN';
  const light = h('button', {
    type: 'button', class: 'icon-button light-switch',
    onclick() {
      const next = document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark';
      setSetting('theme', next);
      chooseTheme(next);
      name();
    },
  }, icon('sun'), icon('moon'));
  const name = (): void => label(light, document.documentElement.dataset.theme === 'dark' ? 'lightOn' : 'lightOff');
  name();
  dark.addEventListener('change', () => {
    if (!setting('theme')) chooseTheme(dark.matches ? 'dark' : 'light');
    name();
  });
  return h('header', { class: 'top' }, h('h1', { class: 'brand' }, h('span', { class: 'brand-mark', 'aria-hidden': 'true' }), h('span', { say: 'name' })), h('div', { class: 'top-tools' }, tools, language, light));
}
