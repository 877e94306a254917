import { createClient } from '@supabase/supabase-js';

// Without variables: the local stack, which accepts any key.
export const supabase = createClient(
  process.env.NEXT_PUBLIC_SUPABASE_URL ?? 'http://127.0.0.1:8787',
  process.env.NEXT_PUBLIC_SUPABASE_PUBLISHABLE_KEY ?? 'local',
);
