import { fileURLToPath } from 'node:url';
import vue from '@vitejs/plugin-vue';
import { defineConfig, loadEnv } from 'vite';

export default defineConfig(({ mode }) => {
  const env = loadEnv(mode, '.', '');
  // Each function has a host of its own on AWS. The local stack serves all paths.
  const hosts = {
    '/api/generate-stream': env.GENERATE_STREAM_URL,
    '/api/generate-image': env.GENERATE_IMAGE_URL,
    '/api/v1/faceflip': env.FACEFLIP_STREAM_URL,
    '/api/generations': env.GENERATIONS_URL,
  };
  const toHost = ([path, url]) =>
    [path, { target: new URL(url ?? 'http://127.0.0.1:8787').origin, changeOrigin: true }];
  // The page calls its own host, so there is no CORS. `npm run dev` and `npm run preview` only: see vercel.json.
  const proxy = Object.fromEntries(Object.entries(hosts).map(toHost));
  return {
    plugins: [vue()],
    resolve: { alias: { '@': fileURLToPath(new URL('src', import.meta.url)) } },
    server: { proxy },
    preview: { proxy },
  };
});
