/**
 * Which cohort each row of a pair belongs to: by a header's value, or by an input tensor of the request.
 *
 * Where the tensor's first dimension is the answer's number of rows, each row goes by its own first element; otherwise the
 * tensor's first element speaks for all. With borders a number becomes the bucket it lies in (a border belongs to the bucket
 * above it), numbered from 0 and shown as `<30`, `30..50`, `>=50`. A name given for the value or the bucket's number stands
 * in its place. What cannot be read is `unknown`.
 */
import type { CohortPolicy } from '../config/snapshot.ts';
import { BodyTensors } from './body-tensors.ts';
import { ALL, type CohortTable, UNKNOWN } from './cohort-table.ts';
import { formOf } from './comparator.ts';
import { MAX_ROWS } from './comparison.ts';
import { ElementReader, type Labels } from './element-reader.ts';
import { Fault } from './fault-kinds.ts';
import { faultOf } from './message-bytes.ts';
import type { PairRecord } from './pair-record.ts';

/** Longest value that is shown as a cohort's name; longer ones are cut. */
const MAX_NAME = 64;
const FIRST_ROWS = 64;

/** The rows of one pair put in order of their cohorts. Used again for every pair. */
export class CohortRows {
  /** Row numbers, those of one cohort next to each other. */
  order = new Int32Array(FIRST_ROWS);
  /** Part i is `order[starts[i] .. starts[i + 1])` and belongs to the cohort at `cohorts[i]` in the table. */
  readonly cohorts: number[] = [];
  readonly starts: number[] = [];
  private cohortOfRow = new Int32Array(FIRST_ROWS);
  private counts = new Int32Array(FIRST_ROWS);
  private readonly tensors = new BodyTensors();
  private readonly elements = new ElementReader();

  /** Puts the `rows` rows of `pair` in order; cohorts met for the first time enter the table. */
  resolve(pair: PairRecord, policy: CohortPolicy, rows: number, table: CohortTable): void {
    this.reserve(rows);
    const { source } = policy;
    if (source.kind === 'none') this.single(rows, table.indexOf(ALL));
    else if (source.kind === 'header') {
      this.single(rows, table.indexOf(pair.cohort === '' ? UNKNOWN : nameOf(policy, pair.cohort)));
    } else if (!this.byInput(pair, policy, source.tensor, source.buckets, rows, table)) {
      this.single(rows, table.indexOf(UNKNOWN));
    }
    this.tensors.release();
  }

  private reserve(rows: number): void {
    if (rows <= this.order.length) return;
    const room = Math.min(MAX_ROWS, 2 ** Math.ceil(Math.log2(rows)));
    this.order = new Int32Array(room);
    this.cohortOfRow = new Int32Array(room);
  }

  /** All rows belong to one cohort. */
  private single(rows: number, cohort: number): void {
    for (let row = 0; row < rows; row++) this.order[row] = row;
    this.cohorts.length = 0;
    this.starts.length = 0;
    this.cohorts.push(cohort);
    this.starts.push(0, rows);
  }

  /** False where the request does not hold a readable tensor of that name with an element. */
  private byInput(
    pair: PairRecord,
    policy: CohortPolicy,
    name: string,
    buckets: readonly number[],
    rows: number,
    table: CohortTable,
  ): boolean {
    if (this.tensors.openRequest(pair.request, formOf(pair)) !== Fault.NONE) return false;
    const { buffer, list } = this.tensors;
    try {
      const tensor = list.find(buffer, name);
      if (tensor === null || tensor.elementCount === 0) return false;
      const byRow = rows > 1 && tensor.rank >= 1 && Math.min(tensor.dims[0]!, MAX_ROWS) === rows;
      const width = byRow ? tensor.elementCount / tensor.dims[0]! : 0;
      const values = this.elements.values(buffer, tensor, byRow ? (rows - 1) * width + 1 : 1);
      if (!byRow) {
        this.single(rows, table.indexOf(cohortOf(values, 0, policy, buckets)));
      } else {
        for (let row = 0; row < rows; row++) {
          this.cohortOfRow[row] = table.indexOf(cohortOf(values, row * width, policy, buckets));
        }
        this.sort(rows, table.names.length);
      }
      return true;
    } catch (error) {
      faultOf(error);
      return false;
    }
  }

  /** Counting sort of the rows by cohort, so that a pair costs its rows and not rows times cohorts. */
  private sort(rows: number, cohorts: number): void {
    if (this.counts.length < cohorts) this.counts = new Int32Array(cohorts * 2);
    const { counts, cohortOfRow } = this;
    counts.fill(0, 0, cohorts);
    for (let row = 0; row < rows; row++) counts[cohortOfRow[row]!]!++;
    this.cohorts.length = 0;
    this.starts.length = 0;
    let at = 0;
    for (let cohort = 0; cohort < cohorts; cohort++) {
      const count = counts[cohort]!;
      counts[cohort] = at;
      if (count === 0) continue;
      this.cohorts.push(cohort);
      this.starts.push(at);
      at += count;
    }
    this.starts.push(rows);
    for (let row = 0; row < rows; row++) this.order[counts[cohortOfRow[row]!]!++] = row;
  }
}

function cohortOf(values: Labels, at: number, policy: CohortPolicy, buckets: readonly number[]): string {
  const value = values[at]!;
  if (buckets.length === 0 || typeof value === 'string') return nameOf(policy, String(value));
  const number = Number(value);
  if (Number.isNaN(number)) return UNKNOWN;
  let bucket = 0;
  while (bucket < buckets.length && number >= buckets[bucket]!) bucket++;
  return namedValue(policy, String(bucket)) ?? bucketText(buckets, bucket);
}

function bucketText(buckets: readonly number[], bucket: number): string {
  if (bucket === 0) return `<${buckets[0]}`;
  if (bucket === buckets.length) return `>=${buckets[bucket - 1]}`;
  return `${buckets[bucket - 1]}..${buckets[bucket]}`;
}

/** The name shown for a value: the configured one, else the value itself, cut. */
function nameOf(policy: CohortPolicy, value: string): string {
  return namedValue(policy, value) ?? (value === '' ? UNKNOWN : value.slice(0, MAX_NAME));
}

function namedValue(policy: CohortPolicy, value: string): string | undefined {
  return Object.hasOwn(policy.names, value) ? policy.names[value] : undefined;
}
