/** What is known of the protocols and methods that pair records name. */
import { PairProtocol } from './pair-record.ts';

/** Names of `PairProtocol` by number, as exports show them. */
export const PROTOCOL_NAMES: readonly string[] = ['tfs_grpc', 'oip_grpc', 'tfs_rest', 'oip_rest'];

/** Methods of TensorFlow Serving whose messages hold examples instead of tensors, as pair records name them. */
export const EXAMPLE_METHODS: ReadonlySet<string> = new Set(['Classify', 'Regress', 'MultiInference']);

/** Whether such bodies say the element type of each tensor; text does not, nor do lists of classes and values. */
export function hasElementTypes({ protocol, method }: { readonly protocol: number; readonly method: string }): boolean {
  return protocol !== PairProtocol.TFS_REST && !EXAMPLE_METHODS.has(method);
}
