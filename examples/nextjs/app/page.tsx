'use client';

import type { Session } from '@supabase/supabase-js';
import { useEffect, useState } from 'react';
import { supabase } from '@/lib/supabase';
import { texts, type Language } from '@/lib/text';
import CreatePage from '@/src/views/CreatePage';
import SignIn from '@/src/views/SignIn';

export default function Page() {
  const [language, setLanguage] = useState<Language>('zh');
  const [session, setSession] = useState<Session | null>();
  const t = texts[language];

  useEffect(() => {
    if (!navigator.language.startsWith('zh')) setLanguage('en');
    const { data } = supabase.auth.onAuthStateChange((_event, current) => setSession(current));
    return () => data.subscription.unsubscribe();
  }, []);
  useEffect(() => void (document.documentElement.lang = language), [language]);

  return (
    <main>
      <header>
        <h1>{t.title}</h1>
        <button onClick={() => setLanguage(language === 'zh' ? 'en' : 'zh')}>{t.other}</button>
        {session && <button onClick={() => supabase.auth.signOut()}>{t.signOut}</button>}
      </header>
      {session === null && <SignIn t={t} />}
      {session && <CreatePage t={t} />}
    </main>
  );
}
