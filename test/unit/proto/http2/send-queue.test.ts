import fc from 'fast-check';
import t from 'tap';
import { SendQueue } from '../../../../proto/http2/send-queue.ts';
import { threadMemory } from '../../../../proto/io/memory-budget.ts';
import { runs, seedFor } from '../../../support/fuzz-runs.ts';

t.test('bytes come out in the order they went in, whatever the pieces', (t) => {
  const step = fc.tuple(fc.boolean(), fc.integer({ min: 1, max: 80_000 }));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const queue = new SendQueue();
      let written = 0;
      let read = 0;
      for (const [adding, size] of steps) {
        if (adding) {
          const bytes = Buffer.alloc(size);
          for (let i = 0; i < size; i++) bytes[i] = written++ % 251;
          queue.append(bytes, 0, size);
        } else if (queue.bytes > 0) {
          const count = Math.min(size, queue.headEnd - queue.headStart);
          for (let i = 0; i < count; i++) if (queue.head[queue.headStart + i] !== read++ % 251) return false;
          queue.consume(count);
        }
        if (queue.bytes !== written - read || threadMemory.heldBytes !== queue.bytes) return false;
      }
      queue.clear();
      return queue.bytes === 0 && threadMemory.heldBytes === 0;
    }),
    { numRuns: runs(100), seed: seedFor(11) },
  );
  t.end();
});

t.test('a hundred thousand single bytes cost little more than themselves', (t) => {
  const queue = new SendQueue();
  const before = process.memoryUsage();
  const one = Buffer.from('x');
  for (let i = 0; i < 100_000; i++) queue.append(one, 0, 1);
  const after = process.memoryUsage();
  t.ok(after.arrayBuffers - before.arrayBuffers < 300_000, `${after.arrayBuffers - before.arrayBuffers} bytes`);
  queue.clear();
  t.end();
});
