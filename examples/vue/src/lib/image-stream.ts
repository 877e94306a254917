import { createImageStream } from 'image-gateway-client/image-stream';
import { supabase } from './supabase';

export const { generateImageStream, generateImage, client } = createImageStream({
  token: async ({ refresh }) => {
    const { data } = await (refresh ? supabase.auth.refreshSession() : supabase.auth.getSession());
    return data.session?.access_token;
  },
});
