/** A tensor with its elements read, for the protocols that do not carry TensorProto. */
import { GrpcStatus } from '../../base/grpc-status.ts';
import { allocateElements, DataType, dtypeName } from '../../proto/tensor/dtype.ts';
import type { JsonOutput } from '../../proto/tensor/json-tensor-writer.ts';
import { copyTensorInto } from '../../proto/tensor/tensor-elements.ts';
import { parseTensor, TensorView } from '../../proto/tensor/tensor-proto.ts';
import { copyStringsInto } from '../../proto/tensor/tensor-strings.ts';
import { WireReader } from '../../proto/tensor/wire.ts';
import { CallFault } from './call-form.ts';
import { elementBytes, type PassedTensor } from './passed-tensor.ts';

/** What an element of text costs at the least, however few bytes declare it. */
const TEXT_BYTES = 32;

const reader = new WireReader();
const view = new TensorView();

/** Reads a tensor out. `maxBytes` bounds what a few bytes may declare to be. @throws CallFault, WireError */
export function decodedOutput(name: string, tensor: PassedTensor, maxBytes: number): JsonOutput {
  const { buf, start, end, dtype, dims } = tensor;
  const count = dims.reduce((product, dim) => product * dim, 1);
  const bytes = dtype === DataType.STRING ? count * TEXT_BYTES : elementBytes(tensor);
  if (Math.max(count, bytes) > maxBytes) {
    throw new CallFault(GrpcStatus.RESOURCE_EXHAUSTED, `output ${name} has more than ${maxBytes} bytes of elements`);
  }
  reader.reset(buf, start, end, 'TensorProto');
  parseTensor(reader, view);
  reader.release();
  if (dtype === DataType.STRING) {
    const texts: string[] = [];
    copyStringsInto(buf, view, texts, 0, count);
    return { name, dtype, dims, data: texts, from: 0, count };
  }
  const data = allocateElements(dtype, count);
  if (data === null) throw new CallFault(GrpcStatus.INTERNAL, `output ${name} is of the type ${dtypeName(dtype)}`);
  copyTensorInto(buf, view, data, 0, count);
  return { name, dtype, dims, data, from: 0, count };
}
