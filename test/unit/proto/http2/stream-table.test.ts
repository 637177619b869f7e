import fc from 'fast-check';
import t from 'tap';
import type { Http2Stream } from '../../../../proto/http2/stream.ts';
import { StreamTable } from '../../../../proto/http2/stream-table.ts';
import { runs, seedFor } from '../../../support/fuzz-runs.ts';

function stream(id: number): Http2Stream {
  return { id } as Http2Stream;
}

t.test('a stream is found until it is deleted, and deleting it again says no', (t) => {
  const table = new StreamTable();
  const one = stream(1);
  table.add(one);
  t.equal(table.find(1), one);
  t.equal(table.find(33), null, 'the same slot, another identifier');
  t.equal(table.delete(one), true);
  t.equal(table.delete(one), false);
  t.equal(table.find(1), null);
  t.equal(table.size, 0);
  t.end();
});

t.test('long-lived streams do not hide newcomers, and their number does not make the table grow for ever', (t) => {
  const table = new StreamTable();
  const old = stream(1);
  table.add(old);
  for (let id = 3; id < 200_000; id += 2) {
    const young = stream(id);
    table.add(young);
    if (table.find(id) !== young || table.find(1) !== old) throw new Error(`lost at ${id}`);
    table.delete(young);
  }
  t.equal(table.size, 1);
  t.same(table.list(), [old]);
  t.end();
});

t.test('it agrees with a Map over any additions and deletions, and lists in order', (t) => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), fc.nat(5000)), { maxLength: 400 }), (steps) => {
      const table = new StreamTable();
      const map = new Map<number, Http2Stream>();
      for (const [adding, n] of steps) {
        const id = n * 2 + 1;
        if (adding && !map.has(id)) {
          map.set(id, stream(id));
          table.add(map.get(id)!);
        } else if (!adding) {
          const victim = [...map.values()][n % Math.max(1, map.size)];
          if (victim === undefined) continue;
          map.delete(victim.id);
          table.delete(victim);
        }
        if (table.find(id) !== (map.get(id) ?? null) || table.size !== map.size) return false;
      }
      const ids = [...map.keys()].sort((a, b) => a - b);
      return table.list().every((s, i) => s.id === ids[i]) && table.list().length === ids.length;
    }),
    { numRuns: runs(150), seed: seedFor(7) },
  );
  t.end();
});
