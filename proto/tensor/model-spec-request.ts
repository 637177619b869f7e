/** Reads the requests that are a model spec and little else: GetModelMetadata and GetModelStatus. */
import { ModelSpecView, parseModelSpec } from './model-spec-view.ts';
import { readText } from './text.ts';
import { WireReader } from './wire.ts';

const TAG_MODEL_SPEC = 0x0a;
const TAG_METADATA_FIELD = 0x12;
/** Metadata fields read; there is one legal name, so more says nothing. */
const MAX_METADATA_FIELDS = 64;

export interface ModelSpecRequest {
  readonly spec: ModelSpecView;
  /** Field 2 of GetModelMetadataRequest; empty for the others. */
  readonly metadataFields: readonly string[];
}

/** Parses `[start, end)`. The spec's ranges are good for as long as the bytes are. @throws WireError */
export function readModelSpecRequest(buf: Buffer, start: number, end: number, what: string): ModelSpecRequest {
  const reader = new WireReader();
  const spec = new ModelSpecView();
  const metadataFields: string[] = [];
  reader.reset(buf, start, end, what);
  while (reader.pos < reader.end) {
    const tag = reader.readTag();
    if (tag === TAG_MODEL_SPEC) {
      reader.end = reader.readPayloadEnd();
      parseModelSpec(reader, spec);
      reader.end = end;
    } else if (tag === TAG_METADATA_FIELD && metadataFields.length < MAX_METADATA_FIELDS) {
      const fieldEnd = reader.readPayloadEnd();
      metadataFields.push(readText(buf, reader.pos, fieldEnd, 'metadata_field'));
      reader.pos = fieldEnd;
    } else {
      reader.skip(tag);
    }
  }
  return { spec, metadataFields };
}
