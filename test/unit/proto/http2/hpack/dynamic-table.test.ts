import fc from 'fast-check';
import t from 'tap';
import { DynamicTable } from '../../../../../proto/http2/hpack/dynamic-table.ts';
import { LookupTable } from '../../../../../proto/http2/hpack/lookup-table.ts';
import { runs } from '../../../../support/fuzz-runs.ts';

/** The table as section 4 of RFC 7541 words it: a plain list, newest first. */
class PlainTable {
  fields: [string, string][] = [];
  maxSize: number;

  constructor(maxSize: number) {
    this.maxSize = maxSize;
  }

  get size(): number {
    return this.fields.reduce((sum, [name, value]) => sum + name.length + value.length + 32, 0);
  }

  insert(name: string, value: string): void {
    this.fields.unshift([name, value]);
    this.resize(this.maxSize);
  }

  resize(maxSize: number): void {
    this.maxSize = maxSize;
    while (this.size > maxSize) this.fields.pop();
  }
}

function fieldsOf(table: DynamicTable): [string, string][] {
  return Array.from({ length: table.count }, (_, i): [string, string] => [table.nameAt(i), table.valueAt(i)]);
}

const operation = fc.oneof(
  { weight: 8, arbitrary: fc.record({ name: fc.constantFrom('a', 'bb', 'ccc'), value: fc.string({ maxLength: 40 }) }) },
  { weight: 1, arbitrary: fc.record({ resize: fc.nat(900) }) },
);

t.test('the ring holds what a plain list would, through any insertions and resizes', async (t) => {
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 120 }), (operations) => {
      const table = new LookupTable(600);
      const plain = new PlainTable(600);
      for (const step of operations) {
        if ('resize' in step) {
          table.resize(step.resize);
          plain.resize(step.resize);
        } else {
          table.insert(step.name, step.value);
          plain.insert(step.name, step.value);
        }
        if (table.size !== plain.size || table.size > table.maxSize) return false;
        if (JSON.stringify(fieldsOf(table)) !== JSON.stringify(plain.fields)) return false;
      }
      return ['a', 'bb', 'ccc', 'none'].every((name) => {
        const values = new Set(['', 'x', ...plain.fields.map((field) => field[1])]);
        for (const value of values) {
          const expected = plain.fields.findIndex((field) => field[0] === name && field[1] === value);
          if (table.findField(name, value) !== expected) return false;
        }
        return table.findName(name) === plain.fields.findIndex((field) => field[0] === name);
      });
    }),
    { numRuns: runs(200) },
  );
  t.pass('same contents, same positions');
});

t.test('a field larger than the table empties it', async (t) => {
  const table = new DynamicTable(100);
  table.insert('a', 'b');
  table.insert('a', 'b'.repeat(68));
  t.equal(table.count, 0);
  t.equal(table.size, 0);
});

t.test('a field exactly as large as the table fits', async (t) => {
  const table = new DynamicTable(100);
  table.insert('a', 'b'.repeat(67));
  t.equal(table.count, 1);
  t.equal(table.size, 100);
});

t.test('the generation changes with the contents and only with them', async (t) => {
  const table = new DynamicTable(100);
  const seen = [table.generation];
  table.insert('a', 'b');
  seen.push(table.generation);
  table.resize(90);
  t.equal(table.generation, seen[1], 'nothing was evicted');
  table.resize(10);
  seen.push(table.generation);
  t.equal(new Set(seen).size, 3);
});

t.test('a table of size zero stays empty', async (t) => {
  const table = new LookupTable(0);
  table.insert('', '');
  t.equal(table.count, 0);
  t.equal(table.findName(''), -1);
});
