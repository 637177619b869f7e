/**
 * The paths of TensorFlow Serving's REST API, case-insensitive:
 *
 *   POST /v1/models/NAME[/versions/N|/labels/L]:(predict|classify|regress)
 *   GET  /v1/models/NAME[/versions/N|/labels/L][/metadata]
 */
import { GrpcStatus } from '../../../base/grpc-status.ts';
import { WorkerError } from '../../worker-error.ts';

export type RestAction = 'predict' | 'classify' | 'regress' | 'status' | 'metadata';

export interface RestRoute {
  readonly action: RestAction;
  readonly model: string;
  readonly version: bigint | null;
  readonly label: string | null;
}

const POST_PATH = /^\/v1\/models\/([^/:]+)(?:\/versions\/(\d+)|\/labels\/([^/:]+))?:(classify|regress|predict)$/i;
const GET_PATH = /^\/v1\/models(?:\/([^/:]+))?(?:\/versions\/(\d+)|\/labels\/([^/:]+))?(?:\/(metadata))?$/i;

const MAX_INT64 = 2n ** 63n - 1n;

/** Routes met lately: clients ask for few paths again and again. */
const known = new Map<string, RestRoute>();
const MAX_KNOWN = 512;

/** The route of a request, or the refusal. */
export function restRoute(method: string, path: string): RestRoute | WorkerError {
  const key = `${method} ${path}`;
  const seen = known.get(key);
  if (seen !== undefined) return seen;
  const route = parseRoute(method, path);
  if (!(route instanceof WorkerError)) {
    if (known.size >= MAX_KNOWN) known.clear();
    known.set(key, route);
  }
  return route;
}

function parseRoute(method: string, path: string): RestRoute | WorkerError {
  const pattern = method === 'POST' ? POST_PATH : method === 'GET' ? GET_PATH : null;
  const match = pattern?.exec(path);
  if (match === null || match === undefined) return invalid(`Malformed request: ${method} ${path}`);
  const [, rawModel, versionText, rawLabel, verb] = match;
  if (rawModel === undefined) return invalid('Missing model name in request.');
  const model = decoded(rawModel);
  if (model === null) return invalid(`Failed to decode model name:${rawModel}`);
  const label = rawLabel === undefined ? null : decoded(rawLabel);
  if (rawLabel !== undefined && label === null) return invalid(`Failed to decode model version label:${rawLabel}`);
  const version = versionText === undefined ? null : BigInt(versionText.slice(0, 40));
  if (version !== null && version > MAX_INT64) return invalid(`Failed to convert version: ${versionText} to numeric.`);
  const action = method === 'POST' ? (verb!.toLowerCase() as RestAction) : verb === undefined ? 'status' : 'metadata';
  return { action, model, version, label };
}

function decoded(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}

function invalid(message: string): WorkerError {
  return new WorkerError(GrpcStatus.INVALID_ARGUMENT, message);
}
