/**
 * Checks a version against its `manifest.sha256`: lines of `<64 hex digits>  <path>`, as sha256sum writes them, with
 * paths below the version's directory. Every file listed must be there with that content, and no file may be there that
 * is not listed: what the model could read is what was signed for. Only the machinery of mounted volumes, names that
 * begin with `..`, is passed over.
 *
 * What is checked is what is read a moment later; whoever can write to the directory between the two is not kept out.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { manifestMismatch } from '../worker-error.ts';
import { MANIFEST_FILE, MODEL_FILE } from './model-directory.ts';

/** Longest manifest read, in bytes; most files of one version; deepest directory. */
const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;
const MAX_FILES = 10_000;
const MAX_DEPTH = 16;

const LINE = /^([0-9a-fA-F]{64}) [ *](.+)$/;

/** The digests of a manifest by path; a string is the first mistake in it. */
export function parseManifest(text: string): ReadonlyMap<string, string> | string {
  const digests = new Map<string, string>();
  const lines = text.split('\n');
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i]!.replace(/\r$/, '');
    if (line === '' || line.startsWith('#')) continue;
    const match = LINE.exec(line);
    if (match === null) return `line ${i + 1}: expected 64 hex digits, two spaces and a path`;
    const path = match[2]!.replace(/^(\.\/)+/, '');
    if (path.startsWith('/') || path.split('/').includes('..'))
      return `line ${i + 1}: ${path} is not below the version`;
    if (digests.has(path)) return `line ${i + 1}: ${path} is listed twice`;
    digests.set(path, match[1]!.toLowerCase());
  }
  return digests;
}

/**
 * Checks the version in `directory`. Resolves with whether it has a manifest at all; rejects with a WorkerError naming
 * the first file that does not match. Reads in small pieces, so that calls go on being served.
 */
export async function checkManifest(directory: string): Promise<boolean> {
  const path = join(directory, MANIFEST_FILE);
  const text = await readManifest(path);
  if (text === null) return false;
  const digests = parseManifest(text);
  if (typeof digests === 'string') throw manifestMismatch(path, digests);
  if (!digests.has(MODEL_FILE)) throw manifestMismatch(path, `${MODEL_FILE} is not listed`);
  for (const file of await filesBelow(directory)) {
    if (file !== MANIFEST_FILE && !digests.has(file)) throw manifestMismatch(path, `${file} is not listed`);
  }
  for (const [file, expected] of digests) {
    const actual = await digestOf(join(directory, file));
    if (actual === null) throw manifestMismatch(path, `${file} cannot be read`);
    if (actual !== expected) throw manifestMismatch(path, `${file} has SHA-256 ${actual}, the manifest ${expected}`);
  }
  return true;
}

async function readManifest(path: string): Promise<string | null> {
  try {
    const { size } = await stat(path);
    if (size > MAX_MANIFEST_BYTES) throw manifestMismatch(path, `longer than ${MAX_MANIFEST_BYTES} bytes`);
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

async function filesBelow(directory: string): Promise<string[]> {
  const found: string[] = [];
  const visit = async (relative: string, depth: number): Promise<void> => {
    for (const name of await readdir(join(directory, relative))) {
      if (name.startsWith('..')) continue;
      const path = relative === '' ? name : `${relative}/${name}`;
      const info = await stat(join(directory, path));
      if (!info.isDirectory()) found.push(path);
      else if (depth < MAX_DEPTH) await visit(path, depth + 1);
      if (depth >= MAX_DEPTH || found.length > MAX_FILES) throw manifestMismatch(directory, 'too many files to check');
    }
  };
  await visit('', 0);
  return found;
}

async function digestOf(path: string): Promise<string | null> {
  const hash = createHash('sha256');
  try {
    for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  } catch {
    return null;
  }
  return hash.digest('hex');
}
