import t from 'tap';
import {
  FIRST_DELAY_MS,
  JITTER_FRACTION,
  MAX_DELAY_MS,
  RAN_WELL_MS,
  RestartBackoff,
} from '../../../../inference-worker/supervision/restart-backoff.ts';

const middle = (): number => 0.5;

t.test('delays double from 100 ms to the cap', async (t) => {
  const backoff = new RestartBackoff(middle);
  const delays = Array.from({ length: 10 }, () => backoff.nextDelayMs(0));
  t.same(delays.slice(0, 4), [100, 200, 400, 800]);
  t.equal(delays.at(-1), MAX_DELAY_MS);
});

t.test('a process that ran well starts the series over, one that barely ran does not', async (t) => {
  const backoff = new RestartBackoff(middle);
  backoff.nextDelayMs(0);
  t.equal(backoff.nextDelayMs(RAN_WELL_MS - 1), 2 * FIRST_DELAY_MS);
  t.equal(backoff.nextDelayMs(RAN_WELL_MS), FIRST_DELAY_MS);
});

t.test('jitter stays within its fraction', async (t) => {
  t.equal(new RestartBackoff(() => 0).nextDelayMs(0), FIRST_DELAY_MS * (1 - JITTER_FRACTION));
  t.ok(new RestartBackoff(() => 0.999999).nextDelayMs(0) < FIRST_DELAY_MS * (1 + JITTER_FRACTION));
});
