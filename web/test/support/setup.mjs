// Node 18 has Web Crypto, but not under its global name.
import { webcrypto } from 'node:crypto';

globalThis.crypto ??= webcrypto;
