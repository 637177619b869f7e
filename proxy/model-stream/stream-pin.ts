/** What a stream of requests is for: one model and version, named by its first message and asked for by all. */
import type { Http2Stream } from '../../proto/http2/stream.ts';
import { ScanKind } from '../../proto/tensor/model-spec.ts';
import type { MeshCluster } from '../mesh.ts';
import { SpecReader, SpecVerdict } from '../routing/spec-reader.ts';

const spec = new SpecReader();

export class StreamPin {
  private readonly model: string;
  private readonly version: string;
  private readonly encoding: string;

  /** `version` as the protocol writes it, '' when the upstream chooses; `encoding` of compressed messages. */
  constructor(model: string, version: string, encoding: string) {
    this.model = model;
    this.version = version;
    this.encoding = encoding;
  }

  /** What is wrong with a framed message, in words for its caller; '' when it asks for what the stream is for. */
  problemOf(bytes: Buffer): string {
    const verdict = spec.read(bytes, bytes.length, true, ScanKind.openInference, this.encoding);
    if (verdict === SpecVerdict.ABSENT) return 'model_name is missing';
    if (verdict !== SpecVerdict.FOUND) return 'the request is malformed';
    if (spec.name !== this.model) return `this stream is for model '${this.model}', not for '${spec.name}'`;
    if (!spec.pinned || spec.label === this.version) return '';
    return `this stream is for version '${this.version}' of model '${this.model}', not for '${spec.label}'`;
  }

  /** Writes a framed message, asking for the cluster's model and version where `rewrites` says so. */
  write(stream: Http2Stream, bytes: Buffer, cluster: MeshCluster, rewrites: boolean): void {
    const { config, target } = cluster;
    const isRead =
      rewrites && spec.read(bytes, bytes.length, true, ScanKind.openInference, this.encoding) === SpecVerdict.FOUND;
    if (isRead && spec.rewrite(config.model, config.version, target)) {
      spec.send(stream, false);
    } else {
      stream.sendData(bytes, 0, bytes.length, false);
    }
  }
}
