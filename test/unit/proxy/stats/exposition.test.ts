import t from 'tap';
import { MAX_CONTROL_ROWS, MetricsExposition } from '../../../../proxy/stats/exposition.ts';
import { StatsLayout } from '../../../../proxy/stats/layout.ts';
import { StatsRegion, StatsRegions } from '../../../../proxy/stats/region.ts';
import {
  AnswerReason,
  BreakerEvent,
  ClusterSlot,
  MirrorDrop,
  ProcessSlot,
  RequestOutcome,
  ShadowSlot,
} from '../../../../proxy/stats/slots.ts';
import { parseExposition, sampleValue } from './exposition-parser.ts';

function setUp(options: { maxClusters?: number; threads?: number } = {}) {
  const maxClusters = options.maxClusters ?? 8;
  const regions = new StatsRegions(options.threads ?? 2, StatsLayout.slotsFor(maxClusters, 4));
  const layout = new StatsLayout({
    maxClusters,
    maxShadows: 4,
    retiredGraceMs: 0,
    clearBlock: (first, count) => regions.clear(first, count),
  });
  const exposition = new MetricsExposition({ layout, regions, processMetrics: false });
  const threads = regions.buffers.map((buffer) => new StatsRegion(buffer));
  const scrape = async () => parseExposition(await exposition.render());
  return { layout, regions, exposition, threads, scrape };
}

t.test('what the threads counted is what a scrape shows, summed and labelled', async (t) => {
  const { layout, threads, scrape } = setUp();
  const { base } = layout.allocate('cluster', ['credit@1', 'credit', '1'], 0);
  const shadow = layout.allocate('shadow', ['credit', 'credit@2', '2'], 0).base;
  threads[0]!.add(base + ClusterSlot.REQUESTS + RequestOutcome.OK, 41);
  threads[1]!.add(base + ClusterSlot.REQUESTS + RequestOutcome.OK, 1);
  threads[1]!.add(base + ClusterSlot.REQUESTS + RequestOutcome.UPSTREAM_RESET, 3);
  threads[0]!.add(base + ClusterSlot.ANSWERS + AnswerReason.BREAKER_OPEN, 7);
  threads[0]!.add(base + ClusterSlot.BREAKER_EVENTS + BreakerEvent.PROBE_SUCCEEDED, 2);
  threads[0]!.add(base + ClusterSlot.IN_FLIGHT, 5);
  threads[0]!.add(base + ClusterSlot.IN_FLIGHT, -2);
  threads[1]!.add(shadow + ShadowSlot.DROPS + MirrorDrop.QUEUE_FULL, 9);
  threads[1]!.set(ProcessSlot.LOOP_LAG, 0.25);
  const families = await scrape();
  const labels = { cluster: 'credit@1', model: 'credit', model_version: '1' };
  const value = (name: string, more = {}) => sampleValue(families, name, { ...labels, ...more });
  t.equal(value('understudy_cluster_requests_total', { outcome: 'ok' }), 42);
  t.equal(value('understudy_cluster_requests_total', { outcome: 'upstream_reset' }), 3);
  t.equal(value('understudy_cluster_requests_total', { outcome: 'deadline' }), 0, 'known outcomes start at 0');
  t.equal(value('understudy_cluster_answers_total', { reason: 'breaker_open' }), 7);
  t.equal(value('understudy_breaker_events_total', { event: 'probe_succeeded' }), 2);
  t.equal(value('understudy_cluster_in_flight_requests'), 3);
  const drop = { model: 'credit', cluster: 'credit@2', model_version: '2', reason: 'queue_full' };
  t.equal(sampleValue(families, 'understudy_mirror_drops_total', drop), 9);
  t.equal(sampleValue(families, 'understudy_loop_lag_seconds', { thread: '1' }), 0.25);
  t.equal(sampleValue(families, 'understudy_loop_lag_seconds', { thread: '0' }), 0);
  t.equal(families.get('understudy_cluster_requests_total')!.type, 'counter');
  t.equal(families.get('understudy_cluster_in_flight_requests')!.type, 'gauge');
});

t.test('inference_latency_seconds is a true histogram: cumulative, with sum and count', async (t) => {
  const { layout, threads, scrape } = setUp();
  const { base } = layout.allocate('cluster', ['credit@1', 'credit', '1'], 0);
  const valuesMs = [0.01, 0.5, 1, 1.001, 3, 900, 70_000];
  for (const [i, valueMs] of valuesMs.entries()) threads[i % 2]!.recordLatency(base + ClusterSlot.LATENCY, valueMs);
  const family = (await scrape()).get('inference_latency_seconds')!;
  t.equal(family.type, 'histogram');
  const buckets = family.samples.filter((sample) => sample.name.endsWith('_bucket'));
  let last = 0;
  for (const { labels, value } of buckets) {
    t.same(Object.keys(labels).sort(), ['le', 'model', 'model_version']);
    const leMs = labels['le'] === '+Inf' ? Number.POSITIVE_INFINITY : Number(labels['le']) * 1_000;
    t.equal(value, valuesMs.filter((valueMs) => valueMs <= leMs).length, `le ${labels['le']}`);
    t.ok(value >= last);
    last = value;
  }
  t.equal(buckets.at(-1)!.labels['le'], '+Inf');
  const sample = (suffix: string) => family.samples.find((s) => s.name === `inference_latency_seconds_${suffix}`)!;
  t.equal(sample('count').value, valuesMs.length);
  t.ok(Math.abs(sample('sum').value - valuesMs.reduce((a, b) => a + b, 0) / 1_000) < 1e-9);
});

t.test('clusters with the same model and version share one latency series', async (t) => {
  const { layout, threads, scrape } = setUp();
  for (const name of ['blue', 'green']) {
    const { base } = layout.allocate('cluster', [name, 'credit', '1'], 0);
    threads[0]!.recordLatency(base + ClusterSlot.LATENCY, 2);
  }
  const families = await scrape();
  t.equal(sampleValue(families, 'inference_latency_seconds_count', { model: 'credit' }), 2);
  t.equal(sampleValue(families, 'inference_latency_seconds_sum', { model: 'credit' }), 0.004);
  t.equal(sampleValue(families, 'inference_latency_seconds_bucket', { le: '0.002' }), 2);
  t.equal(sampleValue(families, 'inference_latency_seconds_bucket', { le: '0.001' }), 0);
});

t.test('a cluster without a model has its latency under its own name only', async (t) => {
  const { layout, threads, scrape } = setUp();
  const { base } = layout.allocate('cluster', ['app', '', ''], 0);
  threads[0]!.recordLatency(base + ClusterSlot.LATENCY, 2);
  const families = await scrape();
  t.equal(sampleValue(families, 'inference_latency_seconds_count'), undefined);
  t.equal(sampleValue(families, 'understudy_cluster_latency_seconds_count', { cluster: 'app' }), 1);
});

t.test('status codes appear once they were counted', async (t) => {
  const { layout, threads, scrape } = setUp();
  const { base } = layout.allocate('cluster', ['a', 'm', '1'], 0);
  t.same((await scrape()).get('understudy_cluster_responses_total')!.samples, []);
  threads[0]!.add(base + ClusterSlot.STATUSES + 14, 1);
  const { samples } = (await scrape()).get('understudy_cluster_responses_total')!;
  t.match(samples, [{ labels: { grpc_status: '14', cluster: 'a' }, value: 1 }]);
  t.equal(samples.length, 1);
});

t.test('series past the bound are counted as refused and exposed as other', async (t) => {
  const { layout, threads, scrape } = setUp({ maxClusters: 1 });
  layout.allocate('cluster', ['a', 'm', '1'], 0);
  const overflow = layout.allocate('cluster', ['b', 'm', '2'], 0);
  t.equal(overflow.shared, true);
  threads[0]!.add(overflow.base + ClusterSlot.REQUESTS + RequestOutcome.OK, 1);
  const families = await scrape();
  t.equal(sampleValue(families, 'understudy_stats_series_refused_total', { kind: 'cluster' }), 1);
  t.equal(sampleValue(families, 'understudy_cluster_requests_total', { cluster: 'other', outcome: 'ok' }), 1);
  t.equal(sampleValue(families, 'understudy_cluster_requests_total', { cluster: 'b', outcome: 'ok' }), undefined);
});

t.test('a reused block starts from zero under its new labels', async (t) => {
  const { layout, threads, scrape } = setUp({ maxClusters: 1 });
  const { base } = layout.allocate('cluster', ['a', 'm', '1'], 0);
  threads[1]!.add(base + ClusterSlot.REQUESTS, 5);
  layout.retain('cluster', [], 0);
  layout.allocate('cluster', ['b', 'm', '2'], 1);
  const families = await scrape();
  t.equal(sampleValue(families, 'understudy_cluster_requests_total', { cluster: 'b', outcome: 'ok' }), 0);
  t.equal(sampleValue(families, 'understudy_cluster_requests_total', { cluster: 'a', outcome: 'ok' }), undefined);
});

t.test('label values with quotes, backslashes and line ends come back as they went in', async (t) => {
  const { layout, scrape } = setUp();
  const odd = 'a"b\\c\nd,e}';
  layout.allocate('cluster', [odd, 'm', '1'], 0);
  t.equal(sampleValue(await scrape(), 'understudy_cluster_in_flight_requests', { cluster: odd }), 0);
});

t.test('control metrics are read at each scrape, and their rows are bounded', async (t) => {
  const { exposition, scrape } = setUp();
  let revision = 1;
  exposition.observe('configRevision', () => [{ labels: [], value: revision }]);
  exposition.observe('breakerState', () =>
    Array.from({ length: MAX_CONTROL_ROWS + 3 }, (_, i) => ({ labels: [`c${i}`, 'm', '1', 'open'], value: 1 })),
  );
  t.equal(sampleValue(await scrape(), 'understudy_config_revision'), 1);
  revision = 2;
  const families = await scrape();
  t.equal(sampleValue(families, 'understudy_config_revision'), 2);
  t.equal(families.get('understudy_breaker_state')!.samples.length, MAX_CONTROL_ROWS);
  t.equal(sampleValue(families, 'understudy_breaker_state', { cluster: 'c7' }), 1);
  t.ok(sampleValue(families, 'understudy_stats_rows_dropped_total')! >= 3);
});

t.test('a metric cannot be observed twice', async (t) => {
  const { exposition } = setUp();
  exposition.observe('configRevision', () => []);
  t.throws(() => exposition.observe('configRevision', () => []), /already been registered/);
});

t.test('process metrics are there too, and the whole parses', async (t) => {
  const regions = new StatsRegions(1, StatsLayout.slotsFor());
  const layout = new StatsLayout({ clearBlock: () => {} });
  const exposition = new MetricsExposition({ layout, regions });
  const families = parseExposition(await exposition.render());
  t.ok(sampleValue(families, 'process_resident_memory_bytes')! > 1e6);
  t.ok(families.has('nodejs_eventloop_lag_p99_seconds'));
  t.match(exposition.contentType, /^text\/plain; version=0\.0\.4/);
});
