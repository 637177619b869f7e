/**
 * Scenario: a small model is loaded on a machine whose cores are taken by others. Mechanism: its loading was timed by the
 * clock, so waiting for a core counted as work. Consequence: for as long as it was served it ran in a thread of its own,
 * at a multiple of what a call costs in the front.
 */
import t from 'tap';
import { threadCpuMs } from '../../../../inference-worker/session/thread-cpu.ts';

const SPAN_MS = 200;

t.test(
  'waiting does not count, work does',
  { skip: 'threadCpuUsage' in process ? false : 'needs Node 23.9' },
  async (t) => {
    const beganMs = threadCpuMs();
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, SPAN_MS);
    const waitedMs = threadCpuMs() - beganMs;
    t.ok(waitedMs < SPAN_MS / 2, `waiting ${SPAN_MS} ms took ${waitedMs} ms of a core`);

    const spunFromMs = threadCpuMs();
    const giveUpMs = performance.now() + 100 * SPAN_MS;
    while (threadCpuMs() - spunFromMs < SPAN_MS && performance.now() < giveUpMs);
    t.ok(threadCpuMs() - spunFromMs >= SPAN_MS, 'a busy thread gets on');
  },
);
