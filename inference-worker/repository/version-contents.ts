/**
 * What lies beside a version's model file, read when the version is loaded: the manifest is checked first, then
 * `signatures.yaml`, `model.yaml` and `batching_params.pbtxt` are read and the recorded warm-up requests are looked for.
 */
import { readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Logger } from '../../base/logger.ts';
import { parseSignatureFile, type SignatureFile } from '../session/signature-file.ts';
import { batchingFileRefused, signatureFileRefused } from '../worker-error.ts';
import { checkManifest } from './manifest.ts';
import { MAX_CARD_BYTES, type ModelCard, parseModelCard } from './model-card.ts';
import { BATCHING_FILE, CARD_FILE, type FoundVersion, SIGNATURE_FILE } from './model-directory.ts';

export interface VersionContents {
  /** Whether a manifest was there, and so holds. */
  readonly verified: boolean;
  /** Null: the graph's own signature is the only one. */
  readonly signatures: SignatureFile | null;
  readonly card: ModelCard | null;
  /** Text of `batching_params.pbtxt`, or null. */
  readonly batchingText: string | null;
  /** The file of recorded requests, or null. */
  readonly warmUpPath: string | null;
}

const WARM_UP_FILE = 'assets.extra/tf_serving_warmup_requests';
const MAX_SIGNATURE_FILE_BYTES = 1024 * 1024;
const MAX_BATCHING_FILE_BYTES = 64 * 1024;

/** Rejects with a WorkerError when the manifest does not hold or the signatures cannot be used. */
export async function readVersionContents(found: FoundVersion, log: Logger): Promise<VersionContents> {
  const directory = dirname(found.path);
  const verified = await checkManifest(directory);
  const signatures = await readSignatures(join(directory, SIGNATURE_FILE));
  const card = await readCard(join(directory, CARD_FILE), log);
  const batchingText = await readIfThere(join(directory, BATCHING_FILE));
  const warmUpPath = join(directory, WARM_UP_FILE);
  return {
    verified,
    signatures,
    card,
    batchingText,
    warmUpPath: (await sizeOf(warmUpPath)) === null ? null : warmUpPath,
  };
}

async function readSignatures(path: string): Promise<SignatureFile | null> {
  const size = await sizeOf(path);
  if (size === null) return null;
  if (size > MAX_SIGNATURE_FILE_BYTES)
    throw signatureFileRefused(path, [`longer than ${MAX_SIGNATURE_FILE_BYTES} bytes`]);
  const { file, problems } = parseSignatureFile(await readFile(path, 'utf8'));
  if (file === null) throw signatureFileRefused(path, problems);
  return file;
}

async function readCard(path: string, log: Logger): Promise<ModelCard | null> {
  const size = await sizeOf(path);
  if (size === null) return null;
  const { card, problems } =
    size > MAX_CARD_BYTES
      ? { card: null, problems: [`longer than ${MAX_CARD_BYTES} bytes`] }
      : parseModelCard(await readFile(path, 'utf8'));
  if (card === null) log.warn('model_card_unreadable', { path, problems });
  return card;
}

async function readIfThere(path: string): Promise<string | null> {
  const size = await sizeOf(path);
  if (size === null) return null;
  if (size > MAX_BATCHING_FILE_BYTES) throw batchingFileRefused(path, [`longer than ${MAX_BATCHING_FILE_BYTES} bytes`]);
  return await readFile(path, 'utf8');
}

async function sizeOf(path: string): Promise<number | null> {
  try {
    const info = await stat(path);
    return info.isFile() ? info.size : null;
  } catch {
    return null;
  }
}
