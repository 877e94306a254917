import { createClient } from '@supabase/supabase-js';

// Without variables: the local stack, which accepts any key.
export const supabase = createClient(
  import.meta.env.VITE_SUPABASE_URL ?? 'http://127.0.0.1:8787',
  import.meta.env.VITE_SUPABASE_PUBLISHABLE_KEY ?? 'local',
);
