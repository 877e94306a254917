// Writes dist/ anew: the package from src/, and the page from demo/. A file whose source is gone does not stay.
import { execFileSync } from 'node:child_process';
import { copyFileSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = fileURLToPath(new URL('.', import.meta.url));
const tsc = (project) => execFileSync(`${here}node_modules/.bin/tsc`, ['--project', project], { stdio: 'inherit' });
rmSync(`${here}dist`, { recursive: true, force: true });
tsc(here);

/** The page asks for typed events only, so the reader of other answers stays out: they are an unknown answer there. */
const withoutChat = {
  name: 'without-chat',
  setup: ({ onLoad }) => onLoad({ filter: /src\/chat\.ts$/ }, () => ({ contents: "throw new Error('not in this page');" })),
};
tsc(`${here}demo`);
await build({
  absWorkingDir: `${here}demo`, entryPoints: ['app.ts', '../src/photos-worker.ts', 'style.css'], outdir: `${here}dist/demo`, entryNames: '[name]',
  bundle: true, minify: true, format: 'esm', target: 'es2022', charset: 'utf8', legalComments: 'none', logLevel: 'warning', plugins: [withoutChat],
});
for (const file of ['index.html', 'icon.svg', 'config.json', 'vercel.json']) copyFileSync(`${here}demo/${file}`, `${here}dist/demo/${file}`);
