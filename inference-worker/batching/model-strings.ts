/** String elements on their way into a model. onnxruntime's binding hands them on as C strings, which end at a NUL. */
import { copyStringsInto, type TensorView } from '../../proto/tensor/tensor-view.ts';
import { WireError } from '../../proto/tensor/wire-error.ts';

/**
 * As `copyStringsInto`, but for elements a model would see cut short. @throws WireError where the tensor gives no strings,
 * or one of them holds a NUL.
 */
export function copyModelStrings(
  buf: Buffer,
  tensor: TensorView,
  dest: string[],
  destOffset: number,
  count: number,
  fromElement: number,
): void {
  copyStringsInto(buf, tensor, dest, destOffset, count, fromElement);
  for (let i = destOffset; i < destOffset + count; i++) {
    if (dest[i]!.includes('\0')) throw new WireError('tensor', 'string element', 'the text holds a NUL');
  }
}
