/** A short run of the soak: what `npm run soak` checks for as long as it is told to. */
import t from 'tap';
import { soak } from './soak.ts';

t.test('seconds of random faults leave no wrong byte, no stuck call and books that add up', async (test) => {
  const report = await soak({ seconds: 10, seed: 20_261_121, onProgress: (line) => test.comment(line) });
  test.comment(JSON.stringify(report));
  test.same(report.faults, []);
  test.equal(report.wrong, 0);
  test.equal(report.stuck, 0);
  test.ok(report.upstreamKills > 0 && report.reloads > 0, 'there was trouble');
});
