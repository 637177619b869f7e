/**
 * Shapes a document can have, as data: scalars, objects, lists and maps, and the types they parse to.
 * The fields themselves stand in document-fields.ts.
 */

import type { Field, FieldValue } from './field.ts';

export interface ScalarNode extends Field {
  readonly node: 'scalar';
}

export interface ObjectNode {
  readonly node: 'object';
  readonly reason: string;
  /** An absent optional object is null; any other absent object has the defaults of its fields. */
  readonly optional: boolean;
  readonly fields: Readonly<Record<string, DocumentNode>>;
}

export interface ListNode {
  readonly node: 'list';
  readonly reason: string;
  /** Most items. */
  readonly max: number;
  /** An absent optional list is null, any other the empty list. */
  readonly optional: boolean;
  readonly item: DocumentNode;
}

/** Free keys with text values. */
export interface MapNode {
  readonly node: 'map';
  readonly reason: string;
  /** Most entries. */
  readonly max: number;
}

export type DocumentNode = ScalarNode | ObjectNode | ListNode | MapNode;

/** The type a node's value has after parsing. */
export type NodeValue<N> = N extends ScalarNode
  ? FieldValue<N>
  : N extends { readonly node: 'object'; readonly fields: infer F; readonly optional: infer O }
    ? { readonly [K in keyof F]: NodeValue<F[K]> } | (O extends true ? null : never)
    : N extends { readonly node: 'list'; readonly item: infer I; readonly optional: infer O }
      ? readonly NodeValue<I>[] | (O extends true ? null : never)
      : N extends MapNode
        ? Readonly<Record<string, string>>
        : never;

/** A scalar that may be reloaded, as everything in the document is. */
export function scalar<const F extends Omit<Field, 'reloadable'>>(field: F): F & { node: 'scalar'; reloadable: true } {
  return { ...field, node: 'scalar', reloadable: true };
}

export function object<const F extends Record<string, DocumentNode>>(
  reason: string,
  fields: F,
): { node: 'object'; reason: string; optional: false; fields: F } {
  return { node: 'object', reason, optional: false, fields };
}

export function optionalObject<const F extends Record<string, DocumentNode>>(
  reason: string,
  fields: F,
): { node: 'object'; reason: string; optional: true; fields: F } {
  return { node: 'object', reason, optional: true, fields };
}

export function list<const I extends DocumentNode>(
  reason: string,
  max: number,
  item: I,
): { node: 'list'; reason: string; max: number; optional: false; item: I } {
  return { node: 'list', reason, max, optional: false, item };
}

export function optionalList<const I extends DocumentNode>(
  reason: string,
  max: number,
  item: I,
): { node: 'list'; reason: string; max: number; optional: true; item: I } {
  return { node: 'list', reason, max, optional: true, item };
}

export function map(reason: string, max: number): MapNode {
  return { node: 'map', reason, max };
}

type Inherited<F> = {
  [K in keyof F]: Omit<F[K], 'default' | 'unset'> & { readonly default: null; readonly unset: string };
};

/** The same scalars without defaults: what is not written is taken from `from`. */
export function inherited<const F extends Record<string, ScalarNode>>(fields: F, from: string): Inherited<F> {
  const entries = Object.entries(fields).map(([key, field]) => [
    key,
    { ...field, default: null, unset: `as in ${from}.${key}` },
  ]);
  return Object.fromEntries(entries) as Inherited<F>;
}
