/**
 * An application that asks about one loan applicant over grpc-js and knows nothing of a sidecar. Run as a program:
 *
 *   node loan-application.ts <host:port> <model>      {"version":...,"probabilities":[...]} or {"code":...}
 */
import type { ServiceError } from '@grpc/grpc-js';
import { floats, modelSpec, TfsClient } from '../../../support/tfs-client.ts';

const [target = '', model = ''] = process.argv.slice(2);
/** Raw columns in the order of the demo's FEATURES; the values need only be finite. */
const FEATURES = [35, 52_000, 18_000, 48, 7, 0.31, 2, 0, 0.4, 12, 3, 1];
const employment = { dtype: 9, tensor_shape: { dim: [{ size: 1 }, { size: 1 }] }, int64_val: [0] };

const client = new TfsClient(target);
try {
  const inputs = { features: floats([1, FEATURES.length], FEATURES), employment };
  const reply = await client.predict({ model_spec: modelSpec(model), inputs });
  const servedBy = reply.outputs.served_by?.string_val[0]?.toString();
  const probabilities = reply.outputs.probabilities?.float_val;
  process.stdout.write(JSON.stringify({ version: reply.model_spec?.version?.value, probabilities, servedBy }));
} catch (error) {
  const { code, details } = error as ServiceError;
  process.stdout.write(JSON.stringify({ code, details }));
} finally {
  client.close();
}
