/** Reads the tf.Examples of Classify, Regress and MultiInference: named lists of bytes, floats or integers. */

import type { MessageFields } from '../../../proto/tensor/message-fields.ts';
import { WireError } from '../../../proto/tensor/wire-error.ts';

/** The values of one feature, in one of the three kinds there are. */
export type Feature =
  | { readonly kind: 'bytes'; readonly values: readonly Buffer[] }
  | { readonly kind: 'float'; readonly values: readonly number[] }
  | { readonly kind: 'int64'; readonly values: readonly bigint[] };

/** A feature without any list is not there. */
export type Example = ReadonlyMap<string, Feature>;

/** Examples of one request; more is `too_large`. An empty example takes two bytes, so the message's size is no bound. */
export const MAX_EXAMPLES = 65_536;
/** Features of one example; more is `too_large`. */
export const MAX_FEATURES = 65_536;

const NO_FEATURES: Example = new Map();

/** The examples of an `Input`, each with the features of the context it lacks. @throws WireError */
export function readInput(fields: MessageFields): Example[] {
  let examples: Example[] = [];
  let context = NO_FEATURES;
  let kind = 0;
  while (fields.next()) {
    if (!fields.is(1) && !fields.is(2)) continue;
    // A oneof: of two kinds the last counts, two of a kind are one.
    if (kind !== fields.field) {
      examples = [];
      context = NO_FEATURES;
    }
    kind = fields.field;
    const list = fields.message('Input');
    while (list.next()) {
      if (list.is(1)) examples.push(readExample(list.message('Example')));
      else if (kind === 2 && list.is(2)) context = readExample(list.message('Example'));
      if (examples.length > MAX_EXAMPLES)
        throw new WireError('too_large', 'Input', `more than ${MAX_EXAMPLES} examples`);
    }
  }
  return context.size === 0 ? examples : examples.map((example) => new Map([...context, ...example]));
}

/** One `Example`; of two features of one name the last counts. @throws WireError */
export function readExample(fields: MessageFields): Example {
  const example = new Map<string, Feature>();
  while (fields.next()) {
    if (!fields.is(1)) continue;
    for (const features = fields.message('Features'); features.next(); ) {
      if (features.is(1)) readEntry(features.message('Features'), example);
      if (example.size > MAX_FEATURES)
        throw new WireError('too_large', 'Example', `more than ${MAX_FEATURES} features`);
    }
  }
  return example;
}

function readEntry(entry: MessageFields, example: Map<string, Feature>): void {
  let name = '';
  let feature: Feature | null = null;
  while (entry.next()) {
    if (entry.is(1)) name = entry.text();
    else if (entry.is(2)) feature = readFeature(entry.message('Feature'));
  }
  if (feature === null) example.delete(name);
  else example.set(name, feature);
}

function readFeature(fields: MessageFields): Feature | null {
  let feature: Feature | null = null;
  while (fields.next()) {
    if (fields.is(1)) feature = readBytes(fields.message('BytesList'));
    else if (fields.is(2)) {
      const values: number[] = [];
      for (const list = fields.message('FloatList'); list.next(); ) list.floats(1, values);
      feature = { kind: 'float', values };
    } else if (fields.is(3)) {
      const values: bigint[] = [];
      for (const list = fields.message('Int64List'); list.next(); ) list.ints(1, values);
      feature = { kind: 'int64', values };
    }
  }
  return feature;
}

function readBytes(list: MessageFields): Feature {
  const values: Buffer[] = [];
  while (list.next()) if (list.is(1)) values.push(list.bytes());
  return { kind: 'bytes', values };
}
