/** Pair records come out as they went in, whatever protocol their bodies are written in. */
import t from 'tap';
import { PairProtocol, readRecords } from '../../../../proxy/mirror/pair-record.ts';
import { batch, pair } from './pairs.ts';

t.test('a record is read as it was written, every field of it', async (test) => {
  const records = Object.values(PairProtocol).map((protocol) =>
    pair({
      protocol,
      method: protocol % 2 === 0 ? 'Classify' : 'infer',
      cohort: 'gold',
      primaryEncoding: 'gzip',
      encoding: 'deflate',
      primaryStatus: 0,
      shadowStatus: 14,
      requestJsonBytes: 7,
      primaryJsonBytes: 4_000_000_000,
      shadowJsonBytes: 9,
      request: Buffer.from('question'),
      primaryBody: Buffer.from('{"answer":1}'),
      shadowBody: Buffer.alloc(70_000, 'x'),
      secondaryStatus: 13,
      secondaryBody: Buffer.from('the same again'),
    }),
  );
  const { buffer, length } = batch(records);
  test.strictSame([...readRecords(Buffer.from(buffer), length)], records);
});

t.test('a buffer that ends inside a record is refused', async (test) => {
  const { buffer, length } = batch([pair()]);
  test.throws(() => [...readRecords(Buffer.from(buffer), length - 1)], RangeError);
});
