/** Slice discovery for one comparison: requests in, found slices out as the admin API tells them. */
import type { BodyForm } from './body-tensors.ts';
import type { Comparison } from './comparison.ts';
import type { SliceFigures } from './comparison-figures.ts';
import { InputColumns, type InputReader } from './input-columns.ts';
import { faultOf } from './message-bytes.ts';
import { type FoundSlice, MAX_COLUMNS, SliceFinder } from './slice-finder.ts';
import type { SliceCondition } from './slice-search.ts';

/** Rows of one request that are looked at: a large batch must not push everything else out. */
const MAX_ROWS_PER_PAIR = 64;
const values = new Float64Array(MAX_ROWS_PER_PAIR * MAX_COLUMNS);

export class Slices {
  private columns: InputColumns | null = null;
  private finder: SliceFinder | null = null;

  /** Takes the rows of a pair whose request is in `reader`; requests that cannot be read are passed over. */
  add(reader: InputReader, request: Uint8Array, form: BodyForm, comparison: Comparison): void {
    if (!comparison.primaryUsable || !reader.open(request, form)) return;
    try {
      this.take(reader, comparison);
    } catch (error) {
      faultOf(error);
    } finally {
      reader.tensors.release();
    }
  }

  /** Slices found, the one that explains most first. */
  figures(): SliceFigures[] {
    if (this.finder === null) return [];
    return this.finder.found().map((slice) => this.sliceFigures(slice));
  }

  private take(reader: InputReader, comparison: Comparison): void {
    const { rows } = comparison;
    if (this.columns === null) {
      const columns = InputColumns.of(reader, rows, MAX_COLUMNS);
      if (columns.columns.length === 0) return;
      this.columns = columns;
      this.finder = new SliceFinder(columns.categorical);
    }
    const width = this.columns.columns.length;
    const taken = Math.min(rows, MAX_ROWS_PER_PAIR);
    this.columns.fill(reader, rows, taken, values);
    for (let row = 0; row < taken; row++) {
      const distance = comparison.distance(row);
      if (distance >= 0) this.finder!.add(values.subarray(row * width, (row + 1) * width), distance);
    }
  }

  private sliceFigures(slice: FoundSlice): SliceFigures {
    const { share, divergenceInside, divergenceOutside, foundAtRows } = slice;
    const where = slice.conditions.map((condition) => this.conditionFigures(condition));
    return { where, share, divergenceInside, divergenceOutside, foundAtRows };
  }

  private conditionFigures({ column, from, to }: SliceCondition): SliceFigures['where'][number] {
    const input = this.columns!.nameOf(column);
    const { texts } = this.columns!.columns[column]!;
    if (texts !== null) return { input, equals: texts[from] ?? '' };
    return { input, from: Number.isFinite(from) ? from : null, to: Number.isFinite(to) ? to : null };
  }
}
