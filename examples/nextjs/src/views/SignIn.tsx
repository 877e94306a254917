'use client';

import { useState, type FormEvent } from 'react';
import { supabase } from '@/lib/supabase';
import type { Texts } from '@/lib/text';

export default function SignIn({ t }: { t: Texts }) {
  // The demo user of the local stack.
  const [email, setEmail] = useState('demo@example.com');
  const [password, setPassword] = useState('demo');
  const [refusal, setRefusal] = useState('');

  async function signIn(action: 'signInWithPassword' | 'signUp') {
    const { error } = await supabase.auth[action]({ email, password });
    setRefusal(error?.message ?? '');
  }

  function submit(event: FormEvent) {
    event.preventDefault();
    void signIn('signInWithPassword');
  }

  return (
    <form onSubmit={submit}>
      <label>
        {t.email} <input type="email" autoComplete="email" required value={email} onChange={(event) => setEmail(event.target.value)} />
      </label>
      <label>
        {t.password}{' '}
        <input type="password" autoComplete="current-password" required value={password} onChange={(event) => setPassword(event.target.value)} />
      </label>
      <div className="row">
        <button className="primary">{t.signIn}</button>
        <button type="button" onClick={() => signIn('signUp')}>{t.signUp}</button>
      </div>
      {refusal && <p role="alert">{refusal}</p>}
    </form>
  );
}
