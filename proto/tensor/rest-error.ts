/** The body of a refusal in the layout of TensorFlow Serving's REST front: `{"error": TEXT}`. */
import { ByteSink } from './byte-sink.ts';
import { putJsonString } from './json-tensor-writer.ts';

const sink = new ByteSink();

/** Valid until the next call. */
export function restErrorView(message: string): Buffer {
  sink.clear();
  sink.putAscii('{\n    "error": ');
  putJsonString(sink, message);
  sink.putAscii('\n}');
  return sink.view();
}
