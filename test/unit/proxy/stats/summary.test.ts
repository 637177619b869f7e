import t from 'tap';
import { LoopWatch } from '../../../../proxy/stats/loop-watch.ts';
import { StatsRegion, StatsRegions } from '../../../../proxy/stats/region.ts';
import {
  CLUSTER_SLOTS,
  ClusterSlot,
  MirrorDrop,
  PROCESS_SLOTS,
  ProcessSlot,
  RequestOutcome,
  SHADOW_SLOTS,
  ShadowSlot,
} from '../../../../proxy/stats/slots.ts';
import { summariseCluster, summariseShadow } from '../../../../proxy/stats/summary.ts';
import { VirtualClock } from '../../../support/virtual-clock.ts';

t.test("a cluster's figures are those of all threads, with quantiles in milliseconds", async (t) => {
  const regions = new StatsRegions(2, CLUSTER_SLOTS);
  for (const buffer of regions.buffers) {
    const region = new StatsRegion(buffer);
    region.add(ClusterSlot.REQUESTS + RequestOutcome.OK, 50);
    for (let i = 1; i <= 50; i++) region.recordLatency(ClusterSlot.LATENCY, i);
  }
  const sums = new Float64Array(CLUSTER_SLOTS);
  regions.sumInto(sums);
  const { requests, latency } = summariseCluster(sums, 0);
  t.equal(requests['ok'], 100);
  t.equal(requests['deadline'], 0);
  t.equal(latency.count, 100);
  t.equal(latency.meanMs, 25.5);
  t.ok(Math.abs(latency.p50Ms! - 25) < 25 * 0.25);
  t.ok(Math.abs(latency.p99Ms! - 50) < 50 * 0.25);
});

t.test('a cluster that answered nothing has no latency rather than zero', async (t) => {
  const { latency } = summariseCluster(new Float64Array(CLUSTER_SLOTS), 0);
  t.same(latency, { count: 0, meanMs: null, p50Ms: null, p90Ms: null, p99Ms: null });
});

t.test("a shadow's drops are named", async (t) => {
  const sums = new Float64Array(SHADOW_SLOTS);
  sums[ShadowSlot.MIRRORED] = 3;
  sums[ShadowSlot.DROPS + MirrorDrop.TOO_LARGE] = 2;
  t.match(summariseShadow(sums, 0), { mirrored: 3, drops: { too_large: 2, reset: 0 }, inFlight: 0, heldBytes: 0 });
});

t.test("a dead thread's gauges are zeroed and its counters kept", async (t) => {
  const regions = new StatsRegions(2, PROCESS_SLOTS);
  const [first, second] = regions.buffers.map((buffer) => new StatsRegion(buffer));
  first!.add(ProcessSlot.STREAMS, 4);
  first!.add(ProcessSlot.STREAMS_TOTAL, 40);
  second!.add(ProcessSlot.STREAMS, 1);
  regions.clearSlots(0, [ProcessSlot.STREAMS]);
  const sums = new Float64Array(PROCESS_SLOTS);
  regions.sumInto(sums);
  t.equal(sums[ProcessSlot.STREAMS], 1);
  t.equal(sums[ProcessSlot.STREAMS_TOTAL], 40);
});

t.test('the loop watch tells the last lag and the largest of ten seconds', async (t) => {
  const regions = new StatsRegions(1, PROCESS_SLOTS);
  const clock = new VirtualClock();
  const watch = new LoopWatch(new StatsRegion(regions.buffers[0]!), clock);
  watch.start();
  const read = (lagMs: number) => {
    clock.advance(250 + lagMs);
    watch.read(clock.nowMs());
  };
  read(80);
  read(5);
  t.equal(regions.read(0, ProcessSlot.LOOP_LAG), 0.005);
  t.equal(regions.read(0, ProcessSlot.LOOP_LAG_MAX), 0.08);
  for (let i = 0; i < 40; i++) read(1);
  t.equal(regions.read(0, ProcessSlot.LOOP_LAG_MAX), 0.001);
  const busy = regions.read(0, ProcessSlot.LOOP_BUSY);
  t.ok(busy >= 0 && busy <= 1);
  watch.stop();
});
