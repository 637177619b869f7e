/** Dashboards and alerts against the running programs: what they ask for must be what the two expose. */
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { fetch } from 'undici';
import { parse } from 'yaml';
import { ModelFolder, scaleModel } from '../support/model-folder.ts';
import { ProxyProgram } from '../support/proxy-program.ts';
import { floats, modelSpec, TfsClient } from '../support/tfs-client.ts';
import { WorkerProgram } from '../support/worker-program.ts';
import { type Family, parseExposition } from '../unit/proxy/stats/exposition-parser.ts';

const DEPLOY = join(import.meta.dirname, '../../deploy');
/** Labels that a scrape adds, and that histograms have of themselves. */
const SCRAPED: readonly string[] = ['job', 'instance', 'le'];
/** A machine without a device exposes nothing of devices. */
const DEVICES = /^understudy_device_/;

interface Asked {
  readonly where: string;
  readonly metric: string;
  /** Labels it is selected by. */
  readonly labels: readonly string[];
}

/** The metrics an expression names, with the labels in their braces. */
function asked(where: string, expression: string): Asked[] {
  const found: Asked[] = [];
  for (const [, metric, braces] of expression.matchAll(/\b((?:understudy|inference)_[a-z_]+)(?:\{([^}]*)\})?/g)) {
    const labels = Array.from((braces ?? '').matchAll(/([a-z_]+)\s*(?:=~|!~|!=|=)/g), (match) => match[1]!);
    found.push({ where, metric: metric!, labels });
  }
  return found;
}

const ASKED: Asked[] = [];
for (const file of globSync('grafana/*.json', { cwd: DEPLOY })) {
  const { panels, templating } = JSON.parse(readFileSync(join(DEPLOY, file), 'utf8'));
  for (const { title, targets } of panels) {
    for (const { expr } of targets) ASKED.push(...asked(`${file}: ${title}`, expr));
  }
  for (const { name, query } of templating.list) {
    if (query.query === undefined) continue;
    const [, metric, label] = /^label_values\((\w+), (\w+)\)$/.exec(query.query)!;
    ASKED.push({ where: `${file}: $${name}`, metric: metric!, labels: [label!] });
  }
}
for (const { rules } of parse(readFileSync(join(DEPLOY, 'prometheus/understudy.rules.yaml'), 'utf8')).groups) {
  for (const { alert, expr } of rules) ASKED.push(...asked(alert, expr));
}

const folder = new ModelFolder();
folder.put('primary', 1, scaleModel(2));
folder.put('primary', 2, scaleModel(2));
t.teardown(() => folder.remove());

async function exposed(): Promise<Map<string, Family>> {
  const worker = await WorkerProgram.ready([
    `--model_repository=${folder.path}`,
    '--version_policy=all',
    '--port=0',
    '--metrics_port=0',
    '--enable_model_warmup=false',
  ]);
  t.teardown(() => worker.stop());
  const address = worker.address(
    worker.changes('main').length > 0 ? 'main' : worker.events.find((e) => e.group)!.group!,
  );
  const proxy = await ProxyProgram.start(t, {
    env: { UNDERSTUDY_OUTBOUND_WORKER_ADDRESS: address, UNDERSTUDY_PAIR_STORE: folder.at('pairs.db') },
    document: {
      models: [
        {
          name: 'primary',
          split: [{ model: 'primary@1' }],
          shadows: [{ model: 'primary@2' }],
          fallback: [{ model: 'primary@2' }],
          comparison: { noiseFloor: '100%' },
          degradation: { meanOver: '10s' },
        },
      ],
      pipelines: [
        {
          name: 'twice',
          inputs: [{ name: 'x', dtype: 'FP32', shape: [-1, 2] }],
          steps: [{ name: 'once', model: 'primary', inputs: { x: 'request.x' }, outputs: ['y'] }],
          outputs: [{ name: 'y', from: 'once.y', dtype: 'FP32', shape: [-1, 2] }],
        },
      ],
    },
  });
  const client = new TfsClient(proxy.address);
  const x = floats([1, 2], [1, 2]);
  for (let i = 0; i < 5; i++) await client.predict({ model_spec: modelSpec('primary'), inputs: { x } });
  client.close();
  await proxy.metricsOnce((metrics) => metrics.sum('understudy_comparison_pairs_total') > 0);
  const port = worker.events.find(({ event }) => event === 'metrics_ready')!.port;
  const texts = await Promise.all(
    [`${proxy.adminUrl}/metrics`, `http://127.0.0.1:${port}/metrics`].map(async (url) => (await fetch(url)).text()),
  );
  return new Map(texts.flatMap((text) => [...parseExposition(text)]));
}

t.test(
  'every metric that a dashboard or an alert names is exposed, with the labels it is selected by',
  async (test) => {
    const families = await exposed();
    test.ok(ASKED.length > 60, `${ASKED.length} places ask for metrics`);
    for (const { where, metric, labels } of ASKED) {
      if (DEVICES.test(metric)) continue;
      const family = families.get(metric) ?? families.get(metric.replace(/_(bucket|sum|count)$/, ''));
      test.ok(family !== undefined, `${where} asks for ${metric}`);
      const sample = family?.samples[0];
      if (sample === undefined) continue;
      for (const label of labels) {
        if (!SCRAPED.includes(label)) test.ok(label in sample.labels, `${where}: ${metric} has the label ${label}`);
      }
    }
  },
);
