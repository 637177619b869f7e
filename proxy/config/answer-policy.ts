/**
 * How a fallback's answers are made to look like the primary's, and answers that come from no model at all: parts of the
 * snapshot, so plain frozen data.
 */
import type { Overflow, Rounding } from '../../proto/tensor/element-cast.ts';

/** One output of the adapted answer. */
export interface OutputRule {
  readonly name: string;
  /** The fallback's output it is made of. */
  readonly from: string;
  /** TensorFlow's DataType number; 0 leaves the type. */
  readonly dtype: number;
  /** Null leaves the shape; one dimension may be -1. */
  readonly shape: readonly number[] | null;
  readonly rounding: Rounding;
  readonly overflow: Overflow;
  /** What stands where the fallback gives no such output; null for nothing: the answer does not fit. */
  readonly fill: readonly string[] | null;
}

/** An input's name with the fallback, and the one its caller uses. */
export interface InputRename {
  readonly name: string;
  readonly from: string;
}

/** How tensors are adapted. */
export interface OutputMapping {
  /** Inputs that the fallback calls otherwise. */
  readonly inputs: readonly InputRename[];
  readonly outputs: readonly OutputRule[];
  /** Whether outputs that no rule takes go on as they are. */
  readonly keepsOthers: boolean;
  /** What the only output is called where an answer does not say (REST of TensorFlow Serving); '' for not known. */
  readonly soleOutput: string;
}

/** One step of a path into a JSON document: the member `key`, then each element of the list in it if `each`. */
export interface PathStep {
  readonly key: string;
  readonly each: boolean;
}

/** One value, or one in each element of a list, of a JSON answer. */
export interface JsonRule {
  readonly path: readonly PathStep[];
  /** Key beside the path's last that the value is taken from; '' for its own. */
  readonly from: string;
  readonly cast: 'none' | 'string' | 'number' | 'integer' | 'boolean';
  /** JSON text of what stands where there is no value; null for nothing: the answer does not fit. */
  readonly fill: string | null;
  readonly drop: boolean;
}

/** A number of an input's row, as a rule reads it. */
export interface InputColumn {
  readonly input: string;
  readonly column: number;
}

export interface LinearTerm extends InputColumn {
  readonly weight: number;
}

/** `bias + sum(weight * input)`, through the sigmoid if `sigmoid`, cut to `min..max`. */
export interface LinearScore {
  readonly bias: number;
  readonly terms: readonly LinearTerm[];
  readonly sigmoid: boolean;
  readonly min: number;
  readonly max: number;
}

/** One output of an answer without a model. */
export interface LocalOutput {
  readonly name: string;
  readonly dtype: number;
  /** -1 in front stands for the rows of the request; no other dimension is open. */
  readonly shape: readonly number[];
  /** One value for all elements of a row, or as many as a row has. Empty where `score` is set. */
  readonly values: readonly string[];
  readonly score: LinearScore | null;
}

export type Comparison = '<' | '<=' | '>' | '>=' | '=' | '!=';

/** A condition on a row: an input's element, or the score of an output. */
export interface LocalCondition {
  readonly operand:
    | { readonly kind: 'input'; readonly input: string; readonly column: number }
    | { readonly kind: 'score'; readonly output: string };
  readonly op: Comparison;
  /** Text is compared with strings (= and != only), everything else as numbers. */
  readonly value: string;
}

/** The first case of which all conditions hold sets a row's values. */
export interface LocalCase {
  readonly conditions: readonly LocalCondition[];
  readonly outputs: readonly { readonly name: string; readonly values: readonly string[] }[];
}

export interface LocalAnswerPolicy {
  readonly kind: 'static' | 'rule';
  /** Of a route: the whole answer as JSON text; null where the outputs are the answer. */
  readonly document: string | null;
  readonly outputs: readonly LocalOutput[];
  readonly cases: readonly LocalCase[];
}
