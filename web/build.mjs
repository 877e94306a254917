// Writes dist/ anew from src/, so that a file whose source is gone does not stay.
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
rmSync(`${here}dist`, { recursive: true, force: true });
execFileSync(`${here}node_modules/.bin/tsc`, ['--project', here], { stdio: 'inherit' });
