/**
 * `npm run soak -- [--minutes N] [--seed S] [--json]`: random faults under load, one minute and a random seed unless told
 * otherwise. Progress goes to standard error; the report to standard output. Ends with 1 and the reasons when something
 * did not hold, with 2 when the arguments are not understood.
 */
import { parseArgs } from 'node:util';
import { type SoakReport, soak } from './soak.ts';

function options(): { minutes: number; seed: number; json: boolean } {
  const { values } = parseArgs({
    options: { minutes: { type: 'string' }, seed: { type: 'string' }, json: { type: 'boolean' } },
  });
  const minutes = Number(values.minutes ?? '1');
  const seed = Number(values.seed ?? String(Math.floor(Math.random() * 1_000_000)));
  if (!(minutes > 0 && minutes <= 10_000)) throw new Error('--minutes takes a number above 0');
  if (!Number.isSafeInteger(seed)) throw new Error('--seed takes an integer');
  return { minutes, seed, json: values.json ?? false };
}

function text(report: SoakReport): string {
  const { memory } = report;
  const mib = (bytes: number) => `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
  const list = (counts: Readonly<Record<string, number>>) =>
    Object.entries(counts)
      .map(([name, count]) => `${name} ${count}`)
      .join(', ');
  return [
    `${report.calls} calls in ${report.seconds} s (${report.callsPerSecond}/s), ${mib(report.bytes)}, seed ${report.seed}`,
    `calls: ${list(report.ends)}`,
    `failures: ${list(report.failures)}`,
    `troubles: ${report.upstreamKills} upstreams killed, ${report.reloads} reloads`,
    `streams of the proxy: ${list(report.streams)}`,
    `events: ${list(report.events)}`,
    `wrong ${report.wrong}, stuck ${report.stuck}`,
    `resident memory: ${mib(memory.from)} after the warm-up, ${mib(memory.to)} at the end, ${mib(memory.slack)} of growth allowed`,
    ...(report.faults.length === 0 ? ['passed'] : report.faults.map((fault) => `FAILED: ${fault}`)),
  ].join('\n');
}

let wanted: ReturnType<typeof options>;
try {
  wanted = options();
} catch (error) {
  process.stderr.write(`soak: ${(error as Error).message}\n`);
  process.exit(2);
}
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
const report = await soak({
  seconds: wanted.minutes * 60,
  seed: wanted.seed,
  onProgress: (line) => process.stderr.write(`${line}\n`),
});
process.stdout.write(`${wanted.json ? JSON.stringify(report, null, 2) : text(report)}\n`);
process.exit(report.faults.length === 0 ? 0 : 1);
