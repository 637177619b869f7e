import fc from 'fast-check';
import t from 'tap';
import { flagsHelp, numberFlag, parseFlags, switchFlag, textFlag } from '../../../inference-worker/flags.ts';
import { runs } from '../../support/fuzz-runs.ts';

const port = numberFlag({ name: 'port', help: '', fallback: 8500, least: 0, most: 65535 });
const path = textFlag({ name: 'path', help: '' });
const verbose = switchFlag({ name: 'verbose', help: '', fallback: false });
const many = textFlag({ name: 'many', help: '', repeated: true });
const table = [port, path, verbose, many] as unknown as Parameters<typeof parseFlags>[0];

t.test('values are taken after an equals sign, as the next argument, and from the environment', async (t) => {
  for (const argv of [['--port=9000'], ['--port', '9000'], ['-port=9000']]) {
    t.equal(parseFlags(table, argv, {}).value(port), 9000, argv.join(' '));
  }
  t.equal(parseFlags(table, [], { UNDERSTUDY_WORKER_PORT: '9000' }).value(port), 9000);
  t.equal(
    parseFlags(table, ['--port=9001'], { UNDERSTUDY_WORKER_PORT: '9000' }).value(port),
    9001,
    'the command line wins',
  );
  t.equal(parseFlags(table, [], {}).value(port), 8500);
});

t.test('a switch needs no value and a repeated flag keeps all of them', async (t) => {
  t.equal(parseFlags(table, ['--verbose', '--port', '1'], {}).value(verbose), true);
  t.equal(parseFlags(table, ['--verbose', 'false'], {}).value(verbose), false);
  t.same(parseFlags(table, ['--many=a', '--many', 'b'], {}).values(many), ['a', 'b']);
  t.same(parseFlags(table, [], { UNDERSTUDY_WORKER_MANY: 'a  b' }).values(many), ['a', 'b']);
});

t.test('every mistake is reported at once', async (t) => {
  const argv = [
    '--port=x',
    '--nope',
    'value',
    '--path',
    '--verbose=maybe',
    'stray',
    '--many=1',
    '--path=a',
    '--path=b',
  ];
  const { problems } = parseFlags(table, argv, { UNDERSTUDY_WORKER_TYPO: '1' });
  t.same(problems, [
    '--port: expected a whole number from 0 to 65535, got "x"',
    '--nope: unknown flag (--help lists them)',
    '--path: expected a value =TEXT',
    '--verbose: expected true or false, got "maybe"',
    '"stray": expected a flag such as --port=8500',
    '--path: given more than once',
    '--path: given more than once',
    'UNDERSTUDY_WORKER_TYPO: unknown setting (--help lists the flags they stand for)',
  ]);
});

t.test('no command line makes the parser throw', async () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(
          fc.string(),
          fc.string().map((s) => `--port=${s}`),
          fc.constant('--path'),
        ),
      ),
      (argv) => {
        parseFlags(table, argv, {});
      },
    ),
    { numRuns: runs(300) },
  );
});

t.test('the help names every flag', async (t) => {
  const help = flagsHelp(table);
  for (const name of ['--port=N', '--path=TEXT', '--verbose[=true|false]', '--many=TEXT']) t.match(help, name);
});
