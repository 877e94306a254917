// The examples of both READMEs compile against the package as its users see it.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';

const WEB = fileURLToPath(new URL('..', import.meta.url));
const GLOBALS = `
  declare const token: () => Promise<string | undefined>;
  declare const file: File;
  declare function show(index: number, picture: Blob | string | undefined): void;
`;
const SUPABASE = `
  type Answer = Promise<{ data: { session: { access_token: string } | null } }>;
  export declare const supabase: { auth: { getSession(): Answer; refreshSession(): Answer } };
`;

const texts = ['README.md', 'README.zh-CN.md'].map((name) => readFileSync(join(WEB, name), 'utf8'));
const blocks = (text) => [...text.matchAll(/^```(tsx?)\n([^]*?)^```/gm)].map(([, kind, code]) => ({ kind, code }));
const names = (text) => [...text.matchAll(/^\| (`[^|]*`) \|/gm)].map(([, name]) => name.replace('、', ', '));

test('the examples of both READMEs compile', { timeout: 120_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'readme-'));
  try {
    mkdirSync(join(folder, 'node_modules'));
    symlinkSync(WEB, join(folder, 'node_modules/image-gateway-client'));
    for (const name of ['@types', 'react', 'csstype']) symlinkSync(join(WEB, 'node_modules', name), join(folder, 'node_modules', name));
    const compilerOptions = { module: 'preserve', moduleResolution: 'bundler', target: 'es2022', lib: ['es2022', 'dom', 'dom.iterable'], jsx: 'react-jsx', strict: true, noEmit: true, exactOptionalPropertyTypes: true, types: [] };
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['.'] }));
    writeFileSync(join(folder, 'globals.d.ts'), GLOBALS);
    writeFileSync(join(folder, 'supabase.ts'), SUPABASE);
    let count = 0;
    for (const text of texts) for (const { kind, code } of blocks(text)) writeFileSync(join(folder, `example${count++}.${kind}`), `${code}\nexport {};\n`);
    assert.equal(count, 6);
    execFileSync(join(WEB, 'node_modules/.bin/tsc'), ['--project', folder], { stdio: 'pipe' });
  } catch (error) {
    throw new Error(`${error.stdout ?? ''}${error.message}`);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('both READMEs name the same options and codes', () => {
  assert.deepEqual(names(texts[0]), names(texts[1]));
  assert.ok(names(texts[0]).length > 14);
});
