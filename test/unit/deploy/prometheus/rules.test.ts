/** The alert rules, judged by Prometheus' own tool; and that every alert has a test of its own. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { parse } from 'yaml';

const FOLDER = join(import.meta.dirname, '../../../../deploy/prometheus');
const RULES = join(FOLDER, 'understudy.rules.yaml');
const TESTS = join(FOLDER, 'understudy.rules.test.yaml');
const hasPromtool = spawnSync('promtool', ['--version']).error === undefined;
const noPromtool = hasPromtool ? false : 'promtool is not installed';

function promtool(...args: string[]): { status: number | null; text: string } {
  const { status, stdout, stderr } = spawnSync('promtool', args, { encoding: 'utf8', timeout: 20_000 });
  return { status, text: stdout + stderr };
}

t.test('promtool finds nothing wrong with the rules', { skip: noPromtool }, async (test) => {
  const { status, text } = promtool('check', 'rules', RULES);
  test.equal(status, 0, text);
});

t.test('every alert fires when it should and not before', { skip: noPromtool }, async (test) => {
  const { status, text } = promtool('test', 'rules', TESTS);
  test.equal(status, 0, text);
});

t.test('no alert is without a test that sees it fire, a severity, and words for whoever is woken', async (test) => {
  const { groups } = parse(readFileSync(RULES, 'utf8'));
  const { tests } = parse(readFileSync(TESTS, 'utf8'));
  const fired = new Set<string>();
  for (const { alert_rule_test: cases } of tests) {
    for (const { alertname, exp_alerts: expected } of cases) if (expected.length > 0) fired.add(alertname);
  }
  for (const { rules } of groups) {
    for (const { alert, labels, annotations } of rules) {
      test.ok(fired.has(alert), `${alert} is seen to fire`);
      test.match(labels.severity, /^(warning|critical)$/);
      test.ok(annotations.summary.length > 0 && annotations.description.length > 0);
    }
  }
});
