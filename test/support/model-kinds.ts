/** ONNX models of the kinds that people serve, small where the kind allows it, and what they answer, worked out by hand. */
import { OnnxModel } from './onnx-writer.ts';
import { wave } from './test-models.ts';

/** Picture size and channels, as picture models take them; the kernels and how far apart they are laid. */
export const PICTURE = [224, 224, 3] as const;
const KERNELS = 4;
const KERNEL = 3;
const STRIDE = 32;
const kernels = wave(KERNELS * 3 * KERNEL * KERNEL, 0.7);

/** picture float32 [batch, 224, 224, 3] through a convolution and a mean: features float32 [batch, 4]. */
export function convolution(): Buffer {
  return new OnnxModel('convolution')
    .input('picture', 'float32', ['batch', ...PICTURE])
    .output('features', 'float32', ['batch', KERNELS])
    .initializer('kernels', 'float32', [KERNELS, 3, KERNEL, KERNEL], kernels)
    .node('Transpose', ['picture'], ['channels'], { perm: [0, 3, 1, 2] })
    .node('Conv', ['channels', 'kernels'], ['convolved'], { strides: [STRIDE, STRIDE] })
    .node('Relu', ['convolved'], ['positive'])
    .node('ReduceMean', ['positive'], ['features'], { axes: [2, 3], keepdims: 0 })
    .build();
}

/** What `convolution` answers for one picture. */
export function convolve(picture: ArrayLike<number>): number[] {
  const [height, width, channels] = PICTURE;
  const places = Math.floor((height - KERNEL) / STRIDE) + 1;
  return Array.from({ length: KERNELS }, (_, k) => {
    let sum = 0;
    for (let top = 0; top < places * STRIDE; top += STRIDE) {
      for (let left = 0; left < places * STRIDE; left += STRIDE) {
        let value = 0;
        for (let c = 0; c < channels; c++) {
          for (let y = 0; y < KERNEL; y++) {
            for (let x = 0; x < KERNEL; x++) {
              const weight = kernels[((k * channels + c) * KERNEL + y) * KERNEL + x]!;
              value += weight * picture[((top + y) * width + left + x) * channels + c]!;
            }
          }
        }
        sum += Math.max(0, value);
      }
    }
    return sum / (places * places);
  });
}

const WORDS = 16;
const FEATURES = 4;
const table = wave(WORDS * FEATURES, 0.3);

/**
 * A sequence model: tokens int64 [batch, time] are looked up and summed over the time so far, so that what stands before a
 * place decides it and padding behind does not: states float32 [batch, time, 4].
 */
export function sequence(): Buffer {
  return new OnnxModel('sequence')
    .input('tokens', 'int64', ['batch', 'time'])
    .output('states', 'float32', ['batch', 'time', FEATURES])
    .initializer('table', 'float32', [WORDS, FEATURES], table)
    .initializer('one', 'int64', [], [1])
    .node('Gather', ['table', 'tokens'], ['embedded'])
    .node('CumSum', ['embedded', 'one'], ['states'])
    .build();
}

/** What `sequence` answers for one row. */
export function runSequence(tokens: readonly number[]): number[] {
  const state = new Array<number>(FEATURES).fill(0);
  return tokens.flatMap((token) => state.map((_, i) => (state[i]! += table[token * FEATURES + i]!)));
}

/** A scalar on each side, and no batch axis: x float32 [2], factor float32 []; y float32 [2], total float32 []. */
export function scalars(): Buffer {
  return new OnnxModel('scalars')
    .input('x', 'float32', [2])
    .input('factor', 'float32', [])
    .output('y', 'float32', [2])
    .output('total', 'float32', [])
    .node('Mul', ['x', 'factor'], ['y'])
    .node('ReduceSum', ['y'], ['total'], { keepdims: 0 })
    .build();
}

/** Inputs and outputs of several types: id int64 [batch], text string [batch, 2]; both back, and twice the id. */
export function mixed(): Buffer {
  return new OnnxModel('mixed')
    .input('id', 'int64', ['batch'])
    .input('text', 'string', ['batch', 2])
    .output('twice', 'int64', ['batch'])
    .output('same', 'string', ['batch', 2])
    .node('Add', ['id', 'id'], ['twice'])
    .node('Identity', ['text'], ['same'])
    .build();
}
