/**
 * Recognises the failures of onnxruntime that mean "no memory for this", on the host or on a device. They are the caller's
 * or the moment's, not the model's: the same model may well run a smaller batch. onnxruntime reports them only in words.
 */
import { deviceOutOfMemory, executionFailed, type WorkerError } from '../worker-error.ts';

const SIGNS: readonly RegExp[] = [
  /std::bad_alloc/,
  /bad array new length/,
  /Failed to allocate memory/i,
  /Available memory of \d+ is smaller than requested/,
  /out of memory/i,
  /CUDA_ERROR_OUT_OF_MEMORY|cudaErrorMemoryAllocation/,
  /CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED/,
  /VK_ERROR_OUT_OF_(DEVICE|HOST)_MEMORY/,
];

export function isOutOfMemory(message: string): boolean {
  return SIGNS.some((sign) => sign.test(message));
}

/** What a run that failed with `message` is answered with. */
export function executionError(message: string): WorkerError {
  return isOutOfMemory(message) ? deviceOutOfMemory(message) : executionFailed(message);
}
