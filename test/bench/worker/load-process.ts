/**
 * Process entry: the load generator of the worker bench. Arguments: how far answers may be from
 * the CPU's, and `NAME=FILE` for each model. Over IPC it announces
 * `{ ready: true }` and answers each `{ model, plan }` with a LoadSummary.
 */
import { LARGE, SMALL } from './models.ts';
import { runOpenLoad } from './open-load.ts';
import { makeCases, type PredictCase } from './predict-cases.ts';
import { type LoadPlan, runPredictLoad } from './predict-load.ts';

const cases = new Map<string, PredictCase[]>();
const [tolerance, ...files] = process.argv.slice(2) as [string, ...string[]];
for (const argument of files) {
  const [name, file] = argument.split('=') as [string, string];
  cases.set(name, await makeCases(name === SMALL.name ? SMALL : LARGE, file, Number(tolerance)));
}
process.on('message', async ({ model, plan }: { model: string; plan: LoadPlan }) => {
  const run = plan.ratePerSecond === undefined ? runPredictLoad : runOpenLoad;
  process.send?.(await run(plan, cases.get(model)!));
});
process.on('disconnect', () => process.exit(0));
process.send?.({ ready: true });
