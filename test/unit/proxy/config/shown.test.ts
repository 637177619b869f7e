import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { Logger } from '../../../../base/logger.ts';
import { runConfigCommand } from '../../../../proxy/cli/config-command.ts';
import { NameAllocator } from '../../../../proxy/config/allocation.ts';
import { list, object, scalar } from '../../../../proxy/config/document-schema.ts';
import { parseEnvironment } from '../../../../proxy/config/env.ts';
import { explainText } from '../../../../proxy/config/explain.ts';
import { ProblemList } from '../../../../proxy/config/problem.ts';
import { PROCESS_FIELDS } from '../../../../proxy/config/process-fields.ts';
import { describeConfiguration, describeSettings, hideSecrets } from '../../../../proxy/config/redact.ts';
import { schemaEntries } from '../../../../proxy/config/schema.ts';
import { ConfigSource } from '../../../../proxy/config/source.ts';

function run(argv: string[], env: Record<string, string> = {}): { code: number; out: string; err: string } {
  const out: string[] = [];
  const err: string[] = [];
  const io = { stdout: (text: string) => out.push(text), stderr: (text: string) => err.push(text), env };
  return { code: runConfigCommand(argv, io), out: out.join(''), err: err.join('') };
}

t.test('the schema names each setting once, with a reason', async (t) => {
  const entries = schemaEntries();
  t.equal(new Set(entries.map((entry) => entry.name)).size, entries.length);
  for (const entry of entries) {
    t.match(entry.reason, /[.:]$/, `${entry.name}: the reason is a sentence`);
    t.ok(
      entry.required || entry.default !== null || entry.unset !== null || ['list', 'mapping'].includes(entry.type),
      entry.name,
    );
    t.equal(entry.reloadable, entry.place === 'document', entry.name);
  }
  const names = entries.map((entry) => entry.name);
  for (const name of [
    'UNDERSTUDY_CONCURRENCY',
    'UNDERSTUDY_MODEL_<NAME>_PRIMARY',
    'models[].split[].weight',
    'defaults.breaker.window',
  ]) {
    t.ok(names.includes(name), name);
  }
});

t.test('explain prints every setting in at most 100 columns, or as JSON', async (t) => {
  const text = explainText();
  for (const entry of schemaEntries()) t.ok(text.includes(`\n${entry.name}\n`), entry.name);
  for (const line of text.split('\n')) t.ok(line.length <= 100, line);
  t.equal(run(['explain']).out, text);
  t.same(JSON.parse(run(['explain', '--json']).out), schemaEntries());
  t.match(run(['--help']).out, /Usage:.*UNDERSTUDY_CONCURRENCY/s);
});

t.test('a wrong command line prints the usage and exits 2', async (t) => {
  for (const argv of [[], ['explian'], ['check'], ['check', 'a', 'b'], ['explain', '--yaml'], ['check', '--json']]) {
    const { code, err } = run(argv);
    t.equal(code, 2, argv.join(' '));
    t.match(err, /^Usage:/);
  }
});

t.test('check prints all mistakes of file and environment and exits 1', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'understudy-check-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'mesh.yaml');
  writeFileSync(path, 'models: [{name: m, split: [{cluster: x}], shadow: []}]');
  const bad = run(['check', path], { UNDERSTUDY_CONCURRENCY: '0', UNDERSTUDY_CONFIG: 'not looked at' });
  t.equal(bad.code, 1);
  t.match(bad.err, /3 mistakes/);
  t.match(bad.err, /UNDERSTUDY_CONCURRENCY/);
  t.match(bad.err, /models\[0\]\.split\[0\]\.cluster/);
  t.match(bad.err, /did you mean shadows\?/);
  writeFileSync(path, 'models: [{name: m, split: [{model: m@1}]}]');
  t.match(run(['check', path]), { code: 0, out: /good; 1 models/, err: '' });
  t.match(run(['check', join(directory, 'gone')]), { code: 1, err: /ENOENT/ });
  t.match(run(['check', directory]), { code: 1, err: /not a regular file/ });
});

t.test('check refuses what is not UTF-8', async (t) => {
  const path = join(t.testdir({}), 'binary');
  writeFileSync(path, Buffer.from([0x7b, 0xff, 0x7d]));
  t.match(run(['check', path]), { code: 1, err: /not UTF-8/ });
});

t.test('secrets are hidden in settings, documents and mistakes', async (t) => {
  const fields = {
    token: { ...PROCESS_FIELDS.configFile, environment: 'UNDERSTUDY_TOKEN', secret: true },
    file: PROCESS_FIELDS.configFile,
  };
  const shown = describeSettings({ UNDERSTUDY_TOKEN: 'hunter2', UNDERSTUDY_CONFIG_FILE: '/a' }, fields);
  t.same(shown.UNDERSTUDY_TOKEN, { value: '(hidden)', source: 'environment' });
  t.same(shown.UNDERSTUDY_CONFIG_FILE, { value: '/a', source: 'environment' });
  t.same(describeSettings({}, fields).UNDERSTUDY_TOKEN, { value: null, source: 'default' });
  const secret = scalar({ kind: 'text', default: null, secret: true, reason: 'A secret.' });
  const schema = object('', {
    sinks: list('', 9, object('', { url: scalar({ kind: 'text', default: null, reason: '' }), secret })),
  });
  const value = {
    sinks: [
      { url: 'u', secret: 'hunter2', unknown: 'hunter2' },
      { url: 'v', secret: null },
    ],
  };
  t.same(hideSecrets(schema, value), {
    sinks: [
      { url: 'u', secret: '(hidden)' },
      { url: 'v', secret: null },
    ],
  });
  const problems = new ProblemList();
  parseEnvironment({ UNDERSTUDY_CONFIG: 'a', UNDERSTUDY_CONFIG_FILE: 'b' }, problems);
  t.notMatch(JSON.stringify(problems.problems), '"a"');
});

t.test('the running configuration is shown as plain JSON with its inline document hidden', async (t) => {
  const env = {
    UNDERSTUDY_CONFIG: '{models: [{name: ocr, split: [{model: ocr@1}]}]} # hunter2',
    UNDERSTUDY_MODEL_A_PRIMARY: 'a@1',
    UNDERSTUDY_CONCURRENCY: '2',
    SECRET_OF_OTHERS: 'hunter2',
  };
  const log = new Logger('silent');
  const source = ConfigSource.open({ env, allocate: new NameAllocator().allocate, log, onChange: () => {} });
  const shown = describeConfiguration(source);
  t.notMatch(JSON.stringify(shown), 'hunter2');
  t.same(JSON.parse(JSON.stringify(shown)), shown);
  t.same(shown.settings['UNDERSTUDY_CONFIG'], { value: '(hidden)', source: 'environment' });
  t.same(shown.settings['UNDERSTUDY_CONCURRENCY'], { value: '2', source: 'environment' });
  t.same(shown.models, { UNDERSTUDY_MODEL_A_PRIMARY: 'a@1' });
  t.equal(shown.mesh.models.length, 2);
  t.same(shown.refused, []);
});
