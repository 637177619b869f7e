/**
 * Reads `BASE/VERSION/model.onnx`. A version is a child directory whose name is a number in int64 (`00000123` is 123) or
 * a release such as `1.4.0-20250405`, and which holds a model file; a directory still being filled has none yet and is not a version until it does. Nothing
 * here decides what is loaded.
 */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { parseVersionName } from './version-name.ts';

export const MODEL_FILE = 'model.onnx';
/** What may lie beside the model file; see version-contents.ts. */
export const MANIFEST_FILE = 'manifest.sha256';
export const SIGNATURE_FILE = 'signatures.yaml';
export const CARD_FILE = 'model.yaml';
export const BATCHING_FILE = 'batching_params.pbtxt';
const SIDE_FILES = [MANIFEST_FILE, SIGNATURE_FILE, CARD_FILE, BATCHING_FILE];

/** Children looked at in one directory; more is refused as a mistake rather than read every second. */
export const MAX_CHILDREN = 10_000;

export interface FoundVersion {
  readonly version: bigint;
  /** The model file. */
  readonly path: string;
  /** The directory's name where it is a release, which then is a label of the version; null for a number. */
  readonly label: string | null;
  /** Changes when the model or a file that says something about it is replaced or rewritten, and when any file comes. */
  readonly fingerprint: string;
}

/** `unreadable` says nothing about the versions: whoever asked keeps what it had. */
export type ModelScan =
  | {
      readonly kind: 'found';
      readonly versions: ReadonlyMap<bigint, FoundVersion>;
      readonly warnings: readonly string[];
    }
  | { readonly kind: 'unreadable'; readonly reason: string };

/** The versions under one model's base path. Never throws. */
export async function scanModelDirectory(basePath: string): Promise<ModelScan> {
  const children = await listChildren(basePath);
  if (typeof children === 'string') return { kind: 'unreadable', reason: children };
  const versions = new Map<bigint, FoundVersion>();
  const warnings: string[] = [];
  for (const name of children) {
    const parsed = parseVersionName(name);
    if (parsed.kind === 'refused') warnings.push(`${join(basePath, name)} is not served: ${parsed.reason}`);
    if (parsed.kind !== 'version') continue;
    const { version, label } = parsed;
    const path = join(basePath, name, MODEL_FILE);
    const modelPrint = await fingerprintOf(path);
    if (modelPrint === null) continue;
    const sidePrints = await Promise.all(SIDE_FILES.map((file) => fingerprintOf(join(basePath, name, file))));
    const fingerprint = [modelPrint, ...sidePrints, await changedAtMs(join(basePath, name))].join(' ');
    const first = versions.get(version);
    if (first !== undefined) warnings.push(`${path} is version ${version} like ${first.path}, which is used`);
    else versions.set(version, { version, path, label, fingerprint });
  }
  return { kind: 'found', versions, warnings };
}

/** Names of the child directories of a repository directory that may be models; a string is why they cannot be read. */
export async function scanRepositoryDirectory(directory: string): Promise<string[] | string> {
  const children = await listChildren(directory);
  if (typeof children === 'string') return children;
  const models: string[] = [];
  for (const name of children) {
    // Hidden names are the machinery of mounted volumes (Kubernetes' `..data`).
    if (name.startsWith('.')) continue;
    if (await isDirectory(join(directory, name))) models.push(name);
  }
  return models;
}

/** Sorted, so that the choice between `1` and `001` is the same on every machine. */
async function listChildren(directory: string): Promise<string[] | string> {
  let names: string[];
  try {
    names = await readdir(directory);
  } catch (error) {
    return `cannot read ${directory}: ${(error as Error).message}`;
  }
  if (names.length > MAX_CHILDREN) return `${directory} has ${names.length} children, more than ${MAX_CHILDREN}`;
  return names.sort();
}

async function fingerprintOf(path: string): Promise<string | null> {
  try {
    const info = await stat(path);
    return info.isFile() ? `${info.ino}:${info.size}:${info.mtimeMs}` : null;
  } catch {
    return null;
  }
}

async function changedAtMs(directory: string): Promise<number> {
  try {
    return (await stat(directory)).mtimeMs;
  } catch {
    return 0;
  }
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch {
    return false;
  }
}
