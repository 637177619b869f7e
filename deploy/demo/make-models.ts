/**
 * Makes the demo's model files: `node deploy/demo/make-models.ts [FOLDER]` (default: deploy/demo/models).
 *
 * The files are committed; running this again writes the same bytes. Prints how good the models are on applicants that
 * none of them was fitted on.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { drawHeldOut, fitCreditModels } from './credit-models.ts';
import { formatReport, reportOn } from './report.ts';

const folder = process.argv[2] ?? join(import.meta.dirname, 'models');
const models = fitCreditModels();
for (const model of [models.primary, models.candidate, models.lite]) {
  const path = join(folder, model.path);
  const bytes = model.encode();
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, bytes);
  const digest = createHash('sha256').update(bytes).digest('hex').slice(0, 16);
  console.log(
    `${model.path.padEnd(30)} ${String(bytes.length).padStart(7)} bytes  sha256 ${digest}...  from ${model.trainedOn} applicants`,
  );
}
const report = reportOn(models, drawHeldOut());
console.log(formatReport(report));
const { auc } = report[0]!;
console.log(
  `AUC on the whole: credit-risk 1 ${auc.primary.toFixed(4)}, credit-risk 2 ${auc.candidate.toFixed(4)} (${signed(auc.candidate - auc.primary)})`,
);

function signed(points: number): string {
  return `${points < 0 ? '' : '+'}${(points * 100).toFixed(1)} points`;
}
