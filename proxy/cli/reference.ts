/**
 * `CONFIGURATION.md` as a whole: the settings and the document of the proxy, the flags of interception, the flags of the
 * worker. A test keeps the file equal to what this writes, so that nothing a program reads can be missing there.
 */
import { environmentName, type Flag } from '../../inference-worker/flags.ts';
import { FLAG_TABLE } from '../../inference-worker/worker-flags.ts';
import { referenceMarkdown } from '../config/reference.ts';
import { environmentTwin, FLAGS, type FlagKind, type FlagSpec } from './intercept-flags.ts';

const INTERCEPTION = `## Interception

Flags of \`understudy intercept install|verify|remove|print\`, each with the variable and the pod annotation that say the same.
A flag wins over its variable. All of them are lists of at most 64 entries unless they are ports, of which there may be 256
ranges. They are read when the command runs: installing again with others changes the rules in force.

| flag | variable | annotation | type | default | why |
|---|---|---|---|---|---|`;

const WORKER = `## Worker

Flags of \`understudy worker\`, each with its variable; in a pod also the annotation \`worker.understudy.dev/FLAG\`. Those of
tensorflow_model_server mean what they mean there. A flag that may be repeated takes several values in its variable, separated
by white space. None is reloadable; models and the files that some flags name are followed where the meaning says so.

| flag | variable | type | default | reloadable | why |
|---|---|---|---|---|---|`;

const TYPES: Readonly<Record<FlagKind, string>> = {
  ports: 'ports and ranges such as 8500,9000-9010; all; none',
  port: 'one port',
  cidrs: 'address blocks such as 10.0.0.0/8,fd00::/8; all or none',
  ids: 'numeric ids such as 1000,1001; all or none',
  names: 'interface names such as eth0,net+; all or none',
  duration: 'duration (ms, s, m, h or d)',
  choice: 'choice',
};

/** How the names of the worker's flags end, and the unit that says; other numbers are counts, ports or sizes in rows. */
const UNITS: readonly (readonly [RegExp, string])[] = [
  [/_micros$/, 'us'],
  [/_ms$/, 'ms'],
  [/_seconds$/, 's'],
  [/_bytes$/, 'B'],
];

/** Every setting of proxy, interception and worker, as Markdown. */
export function wholeReference(): string {
  return [
    referenceMarkdown(),
    INTERCEPTION,
    ...FLAGS.map(interceptionRow),
    '',
    WORKER,
    ...FLAG_TABLE.filter(({ name }) => name !== 'help' && name !== 'version').map(workerRow),
    '',
  ].join('\n');
}

function interceptionRow(spec: FlagSpec): string {
  const type = spec.choices === undefined ? TYPES[spec.kind] : `one of ${spec.choices.join(', ')}`;
  const annotation = spec.inPods ?? `\`intercept.understudy.dev/${spec.flag}\``;
  const names = [`\`--${spec.flag}\``, `\`${environmentTwin(spec.flag)}\``, annotation];
  return row([...names, type, `\`${spec.default}\``, spec.meaning]);
}

function workerRow({ name, form, help, fallback, repeated }: Flag<unknown>): string {
  const value = Array.isArray(fallback) ? fallback.join(',') : String(fallback ?? '');
  const shown = form.replace(/^\[=(.*)\]$/, '$1').replace(/^=/, '');
  const unit = UNITS.find(([ending]) => ending.test(name))?.[1];
  const type = (shown === 'N' ? 'whole number' : shown) + (unit === undefined ? '' : ` (${unit})`);
  const names = [`\`--${name}\``, `\`${environmentName(name)}\``];
  const fact = value === '' ? 'unset' : `\`${value}\``;
  return row([...names, repeated ? `${type}; may be repeated` : type, fact, 'no', help]);
}

function row(cells: readonly string[]): string {
  const safe = cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll('<', '&lt;').replaceAll('\n', ' '));
  return `| ${safe.join(' | ')} |`;
}
