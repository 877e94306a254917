// The size gate. Core is what a page loads to stream pictures: the entry point without the modules that it imports on
// demand. Upload adds `preparePhotos` and its worker. A bundler leaves text as it is, hence `charset`.
import { readdirSync, readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const LIMITS = { core: 5 * 1024, 'core + upload': 6 * 1024, 'the create page, with the client': 40_000 };
const here = new URL('.', import.meta.url).pathname;

async function gzipped(contents, external = []) {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: here },
    bundle: true, minify: true, format: 'esm', target: 'es2022', charset: 'utf8', write: false, external,
    legalComments: 'none',
  });
  return gzipSync(outputFiles[0].contents, { level: 9 }).length;
}

const onDemand = ['./chat.js', './blobs.js', './settle.js'];
const core = "export * from './dist/index.js';";
const upload = `${core} export * from './dist/photos.js'; import './dist/photos-worker.js';`;
const sizes = {
  core: await gzipped(core, onDemand),
  'core + upload': await gzipped(upload, onDemand),
  'on demand: chat chunks': await gzipped("export * from './dist/chat.js';"),
  'on demand: data URLs, links': await gzipped("export * from './dist/blobs.js';"),
  'on demand: the result of a broken stream': await gzipped("export * from './dist/settle.js';"),
  'image-stream, with everything': await gzipped("export * from './dist/image-stream.js';"),
  'react, without core': await gzipped("export * from './dist/react.js';", ['react', ...onDemand]),
};
const page = new URL('dist/demo/', import.meta.url);
const files = readdirSync(page).filter((name) => !name.endsWith('.json'));
sizes['the create page, with the client'] = files.reduce((sum, name) => sum + gzipSync(readFileSync(new URL(name, page)), { level: 9 }).length, 0);
let failed = false;
for (const [name, bytes] of Object.entries(sizes)) {
  const limit = LIMITS[name];
  if (bytes > limit) failed = true;
  console.log(`${name}: ${bytes} B gzipped${limit ? `, limit ${limit}` : ''}${bytes > limit ? ' — TOO LARGE' : ''}`);
}
process.exitCode = failed ? 1 : 0;
