/**
 * Model calls in REST paths: TensorFlow Serving's (`/v1/models/NAME[/versions/N|/labels/L][:verb|/metadata]`) and the
 * Open Inference Protocol's (`/v2/models/NAME[/versions/V][/infer|...]`). The model is named in the path, so a request
 * is routed at its head, and asking for another version is another path.
 */

/** A REST path that names a model. */
export interface RestCall {
  readonly api: 'v1' | 'v2';
  /** Percent-decoded. */
  readonly model: string;
  /** Version as decimal digits; '' for none or a label. */
  readonly version: string;
  /** The caller chose a version or a label. */
  readonly pinned: boolean;
  /** Runs the model, as opposed to asking about it. */
  readonly isInference: boolean;
  /** What it runs, in the terms of gRPC: Predict, Classify, Regress, `infer`; '' when it runs nothing. */
  readonly method: string;
  /** What follows model and version: `:predict`, `/metadata`, `/infer`, query string included. */
  readonly rest: string;
}

const V1 = /^\/v1\/models\/([^/:?]+)(?:\/versions\/([^/:?]+)|\/labels\/([^/:?]+))?(:[a-z]+|\/metadata)?(\?.*)?$/i;
const V2 = /^\/v2\/models\/([^/?]+)(?:\/versions\/([^/?]+))?(\/[a-z/]+)?(\?.*)?$/i;
const DIGITS = /^[0-9]{1,19}$/;
const METHODS: ReadonlyMap<string, string> = new Map([
  [':predict', 'Predict'],
  [':classify', 'Classify'],
  [':regress', 'Regress'],
  ['/infer', 'infer'],
]);

/** Reads a path; null when it names no model. */
export function parseRestPath(method: string, path: string): RestCall | null {
  const v1 = V1.exec(path);
  if (v1 !== null) return call('v1', method, v1[1]!, v1[2], v1[3], v1[4] ?? '', v1[5] ?? '');
  const v2 = V2.exec(path);
  if (v2 !== null) return call('v2', method, v2[1]!, v2[2], undefined, v2[3] ?? '', v2[4] ?? '');
  return null;
}

/** The path for another model and version ('' lets the upstream choose). */
export function restPath(to: RestCall, model: string, version: string): string {
  const versionPart = version === '' ? '' : `/versions/${encodeURIComponent(version)}`;
  return `/${to.api}/models/${encodeURIComponent(model)}${versionPart}${to.rest}`;
}

function call(
  api: 'v1' | 'v2',
  method: string,
  model: string,
  version: string | undefined,
  label: string | undefined,
  verb: string,
  query: string,
): RestCall | null {
  const name = decoded(model);
  if (name === null) return null;
  const runs = method === 'POST' ? (METHODS.get(verb.toLowerCase()) ?? '') : '';
  return {
    api,
    model: name,
    version: version !== undefined && DIGITS.test(version) ? version : '',
    pinned: version !== undefined || label !== undefined,
    isInference: runs !== '',
    method: runs,
    rest: verb + query,
  };
}

function decoded(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}
