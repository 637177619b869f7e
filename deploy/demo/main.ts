/**
 * The main job of `npm start`: plays the story of the sidecar on the demo's models.
 *
 *   --seconds N    stops after N seconds of traffic (default: goes on until Ctrl-C)
 *   --json         prints the figures as one JSON object, as the last line
 *   --rate N       calls per second (default 150)
 *   --kill-after N kills the primary's process after N seconds (default 8, at most 40 % of --seconds)
 *   --seed N       seed of the applicants drawn
 */
import { parseArgs } from 'node:util';
import { Story, type StoryOptions } from './story.ts';

const DEFAULT_RATE = 150;
const DEFAULT_KILL_AFTER_SECONDS = 8;
const DEFAULT_SEED = 44;

type Reading = { readonly options: StoryOptions; readonly json: boolean } | { readonly problems: readonly string[] };

function readArguments(argv: string[]): Reading {
  const problems: string[] = [];
  let values: Record<string, string | boolean | undefined> = {};
  try {
    const text = { type: 'string' } as const;
    ({ values } = parseArgs({
      args: argv,
      options: { seconds: text, rate: text, 'kill-after': text, seed: text, json: { type: 'boolean' } },
    }));
  } catch (error) {
    problems.push((error as Error).message);
  }
  const number = (name: string, fallback: number | null, least: number, most: number): number | null => {
    const given = values[name];
    if (given === undefined) return fallback;
    const value = given === '' ? Number.NaN : Number(given);
    if (!(value >= least && value <= most))
      problems.push(`--${name}: expected a number from ${least} to ${most}, got ${given}`);
    return value;
  };
  const seconds = number('seconds', null, 1, 86_400);
  const ratePerSecond = number('rate', DEFAULT_RATE, 1, 20_000)!;
  const killAfter = Math.min(DEFAULT_KILL_AFTER_SECONDS, seconds === null ? Number.POSITIVE_INFINITY : seconds * 0.4);
  const killAfterMs = number('kill-after', killAfter, 0, 86_400)! * 1000;
  const seed = number('seed', DEFAULT_SEED, 0, 2 ** 32 - 1)!;
  if (problems.length > 0) return { problems };
  return {
    options: { seconds, ratePerSecond, killAfterMs, seed, screen: process.stdout },
    json: values['json'] === true,
  };
}

async function main(): Promise<number> {
  const reading = readArguments(process.argv.slice(2));
  if ('problems' in reading) {
    for (const problem of reading.problems) process.stderr.write(`${problem}\n`);
    return 1;
  }
  const story = new Story(reading.options);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => story.stop());
  try {
    const result = await story.play();
    if (reading.json) process.stdout.write(`${JSON.stringify(result)}\n`);
    return 0;
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    return 1;
  }
}

process.exitCode = await main();
