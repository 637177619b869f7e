/** The worker's README: its examples are read by what reads such files, and its table has every family of metrics. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { parseBatchingParameters } from '../../../inference-worker/config/batching-parameters.ts';
import { parseMonitoringConfig } from '../../../inference-worker/config/monitoring-config.ts';
import { MetricsExposition } from '../../../inference-worker/metrics/metrics-exposition.ts';
import { parseModelCard } from '../../../inference-worker/repository/model-card.ts';
import { parseModelConfigFile } from '../../../inference-worker/repository/model-config-file.ts';
import { parseVersionName } from '../../../inference-worker/repository/version-name.ts';
import { parseSignatureFile } from '../../../inference-worker/session/signature-file.ts';
import { BatchingBench, rows } from '../../support/fake-executor.ts';
import { submit } from '../../support/predict-tasks.ts';

const readme = readFileSync(join(import.meta.dirname, '../../../inference-worker/README.md'), 'utf8');

/** The example of a kind. */
function example(kind: string): string {
  const match = new RegExp(`\`\`\`[a-z]+ ${kind}\n([\\s\\S]*?)\`\`\``).exec(readme);
  if (match === null) throw new Error(`no example of ${kind}`);
  return match[1]!;
}

t.test('its examples are read without a mistake', async (t) => {
  const { file, problems } = parseSignatureFile(example('signatures'));
  t.same(problems, []);
  t.same(
    file?.entries.map(({ name }) => name),
    ['serving_default', 'flowers', 'price'],
  );
  const { card, problems: cardProblems } = parseModelCard(example('card'));
  t.same(cardProblems, []);
  t.match(card, { version: 'v1.2.3', status: 'approved', metrics: new Map([['precision', 0.91]]) });
  const { models, problems: modelProblems } = parseModelConfigFile(example('models'));
  t.same(modelProblems, []);
  t.match(models, [{ name: 'flowers', labels: new Map([['canary', 3n]]) }]);
  const { parameters, problems: batchingProblems } = parseBatchingParameters(example('batching'));
  t.same(batchingProblems, []);
  t.match(parameters, { maxBatchSize: 64, allowedBatchSizes: [8, 64] });
  t.match(parseMonitoringConfig(example('monitoring')), { monitoring: { enabled: true }, problems: [] });
});

t.test('what it says of versions holds', async (t) => {
  const version = (1n << 51n) | (4n << 39n) | 20250405n;
  t.match(parseVersionName('1.4.0-20250405'), { kind: 'version', version, label: '1.4.0-20250405' });
  t.match(parseVersionName('v1.4.0'), { kind: 'version', label: 'v1.4.0' });
  t.match(parseVersionName('4096.0.0'), { kind: 'refused' });
});

t.test('its table has every family of metrics as it is, and no other', async (t) => {
  const reading = {
    device: 0,
    name: 'd',
    memoryTotalBytes: 1,
    memoryUsedBytes: 1,
    busyFraction: 0,
    memoryBusyFraction: 0,
  };
  const metrics = new MetricsExposition({ group: 'g', provider: () => 'cpu', readDevices: () => [reading] });
  const bench = new BatchingBench({ maxBatchSize: 8 });
  submit(bench.servable, rows(1));
  metrics.add(bench.servable);
  const families = metrics.collect('understudy').map(({ name, help }) => `| \`${name}\` | ${help} |`);
  const [first, ...others] = readme.match(/^\| `understudy_.*$/gm) ?? [];
  t.match(first, /understudy_group_up/);
  t.same(others, families);
  bench.advance(3);
  bench.finish(0, 1);
});
