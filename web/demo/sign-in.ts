// The sign-in form: on the page before the first sign-in, and in a dialog when a session has ended.
import type { Config } from './config.js';
import { h, hush, say } from './dom.js';
import { setting, setSetting } from './memory.js';
import { SignInError, type Session } from './session.js';
import type { Word } from './words.js';

export interface SignIn {
  element: HTMLFormElement;
  /** @param isAgain whether a session has ended */
  show(isAgain: boolean): void;
}

export function createSignIn({ signIn = ['password'], local }: Config, session: Session, onSignedIn: () => void): SignIn {
  let way = signIn[0]!;
  let hasCode = false;
  const title = h('h2', { class: 'sign-in-title' });
  const lead = h('p', { class: 'sign-in-lead' });
  const email = h('input', { id: 'email', type: 'email', name: 'email', autocomplete: 'username', required: true, spellcheck: 'false' });
  const password = h('input', { id: 'password', type: 'password', name: 'password', autocomplete: 'current-password' });
  const code = h('input', { id: 'code', name: 'code', inputmode: 'numeric', autocomplete: 'one-time-code', maxlength: 10 });
  const problem = h('p', { class: 'field-problem', role: 'alert' });
  const field = (name: Word, input: HTMLInputElement): HTMLElement =>
    h('div', { class: 'field' }, h('label', { class: 'field-head', for: input.id }, h('span', { say: name })), input);
  const passwordField = field('password', password);
  const codeField = field('code', code);
  const submit = h('button', { type: 'submit', class: 'button primary' }, h('span', { say: 'signIn' }));
  const other = h('button', { type: 'button', class: 'button plain', onclick: () => choose(way === 'password' ? 'code' : 'password') }, h('span', { say: 'useCode' }));
  const hint = h('p', { class: 'sign-in-hint', ...(local && { say: ['demoUser', local.password] }) });
  const element = h('form', { class: 'sign-in', novalidate: true }, title, lead, field('email', email), passwordField, codeField, problem, submit, signIn.length > 1 && other, hint);

  function render(): void {
    passwordField.hidden = way !== 'password';
    codeField.hidden = way !== 'code' || !hasCode;
    say(submit.firstElementChild!, way === 'code' && !hasCode ? 'sendCode' : 'signIn');
    say(other.firstElementChild!, way === 'password' ? 'useCode' : 'usePassword');
    hint.hidden = !local && !hasCode;
  }

  function choose(next: typeof way): void {
    way = next;
    hasCode = false;
    hush(problem);
    render();
  }

  async function send(): Promise<void> {
    const address = email.value.trim();
    if (way === 'password') await session.signIn(address, password.value);
    else if (hasCode) await session.verifyCode(address, code.value.trim());
    else {
      await session.sendCode(address);
      hasCode = true;
      say(hint, 'codeSent', address);
      render();
      return code.focus();
    }
    setSetting('email', address);
    password.value = code.value = '';
    choose(way);
    onSignedIn();
  }

  element.addEventListener('submit', (event) => {
    event.preventDefault();
    if (submit.getAttribute('aria-disabled') === 'true') return;
    hush(problem);
    submit.setAttribute('aria-disabled', 'true');
    send()
      .catch((error: unknown) => say(problem, error instanceof SignInError ? error.word : 'signInDown'))
      .finally(() => submit.setAttribute('aria-disabled', 'false'));
  });

  return {
    element,
    show(isAgain) {
      say(title, isAgain ? 'signInAgain' : 'signIn');
      say(lead, isAgain ? 'signInAgainLead' : 'signInLead');
      email.value = setting('email') ?? local?.users[0] ?? '';
      password.value = local?.password ?? '';
      choose(way);
    },
  };
}
