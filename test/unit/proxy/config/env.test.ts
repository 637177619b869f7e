import fc from 'fast-check';
import t from 'tap';
import { parseEnvironment, readEnvironment } from '../../../../proxy/config/env.ts';
import { ConfigError, formatProblem, ProblemList } from '../../../../proxy/config/problem.ts';
import { PROCESS_FIELDS } from '../../../../proxy/config/process-fields.ts';
import { runs } from '../../../support/fuzz-runs.ts';

type Variables = Record<string, string | undefined>;

function mistakes(env: Variables): string[] {
  const problems = new ProblemList();
  parseEnvironment(env, problems);
  return problems.problems.map(formatProblem);
}

t.test('an empty environment gives every default', async (t) => {
  const { settings, shorthands } = readEnvironment({});
  t.same(settings.outboundListen, [
    { kind: 'tcp', host: '127.0.0.1', port: 15_001 },
    { kind: 'tcp', host: '::1', port: 15_001 },
  ]);
  t.same(settings.inboundListen, []);
  t.same(settings.adminListen, [{ kind: 'tcp', host: '127.0.0.1', port: 15_000 }]);
  t.same(settings.outboundExplicitPorts, []);
  t.equal(settings.outboundFallbackWorkerAddress, null);
  t.equal(settings.concurrency, 1);
  t.equal(settings.shutdownGracePeriodMs, 25_000);
  t.equal(settings.configFile, null);
  t.same(shorthands, []);
});

t.test('a blank variable counts as unset', async (t) => {
  t.equal(readEnvironment({ UNDERSTUDY_CONCURRENCY: '', UNDERSTUDY_LOG_LEVEL: '  ' }).settings.concurrency, 1);
  t.same(readEnvironment({ UNDERSTUDY_MODEL_A_SHADOW: '' }).shorthands, []);
});

t.test('every setting is read from its name', async (t) => {
  const { settings } = readEnvironment({
    UNDERSTUDY_OUTBOUND_LISTEN: '127.0.0.1:1,unix:/run/u',
    UNDERSTUDY_OUTBOUND_EXPLICIT_PORTS: '8500,9000-9010',
    UNDERSTUDY_INBOUND_LISTEN: '0.0.0.0:15006',
    UNDERSTUDY_OUTBOUND_WORKER_ADDRESS: '127.0.0.1:8500\n',
    UNDERSTUDY_SHUTDOWN_GRACE_PERIOD: '0s',
    UNDERSTUDY_OUTBOUND_MAX_HEADER_LIST_SIZE: '8KiB',
    UNDERSTUDY_OUTBOUND_OPAQUE_PORTS: 'none',
    UNDERSTUDY_LOG_LEVEL: 'debug',
  });
  t.equal(settings.outboundListen.length, 2);
  t.equal(settings.outboundExplicitPorts.length, 2);
  t.same(settings.outboundWorkerAddress, { kind: 'tcp', host: '127.0.0.1', port: 8500 });
  t.equal(settings.shutdownGracePeriodMs, 0);
  t.equal(settings.outboundMaxHeaderListBytes, 8192);
  t.same(settings.outboundOpaquePorts, []);
  t.equal(settings.logLevel, 'debug');
});

t.test('one start reports every mistake with name, value and expectation', async (t) => {
  const env = {
    UNDERSTUDY_OUTBOUND_LISTEN: 'localhost',
    UNDERSTUDY_CONCURRENCY: '0',
    UNDERSTUDY_SHUTDOWN_GRACE_PERIOD: '25',
    UNDERSTUDY_OUTBOUND_MAX_REPLAY_SIZE: '4MB',
    UNDERSTUDY_LOG_LEVEL: 'wran',
    UNDERSTUDY_CONCURENCY: '2',
    UNDERSTUDY_MODEL_A_PRIMARY: 'a@x',
    UNDERSTUDY_MODEL_B_SHADOW: 'b@1',
  };
  try {
    readEnvironment(env);
    t.fail('accepted');
  } catch (error) {
    t.ok(error instanceof ConfigError);
    const { problems, message } = error as ConfigError;
    t.equal(problems.length, 8);
    t.match(message, /^8 mistakes/);
    t.match(message, /UNDERSTUDY_CONCURRENCY = "0": expected a whole number, at least 1, at most 64/);
    t.match(message, /UNDERSTUDY_SHUTDOWN_GRACE_PERIOD = "25": expected a duration with its unit/);
    t.match(message, /UNDERSTUDY_LOG_LEVEL = "wran": .*did you mean warn\?/);
    t.match(message, /UNDERSTUDY_CONCURENCY: expected a known name; did you mean UNDERSTUDY_CONCURRENCY\?/);
    t.match(message, /UNDERSTUDY_MODEL_B_PRIMARY: expected the model's primary/);
  }
});

t.test('an unknown name is a mistake and its value, perhaps a secret, is not shown', async (t) => {
  const [line] = mistakes({ UNDERSTUDY_CONFG: 'password: hunter2' });
  t.match(line, 'did you mean UNDERSTUDY_CONFIG?');
  t.notMatch(line, 'hunter2');
  t.match(mistakes({ UNDERSTUDY_BANANA: '1' })[0], 'see understudy config explain');
  t.match(
    mistakes({ UNDERSTUDY_MODEL_CREDIT_RISK_SHADW: 'a' })[0],
    'did you mean UNDERSTUDY_MODEL_CREDIT_RISK_SHADOW?',
  );
  t.match(mistakes({ UNDERSTUDY_MODEL_A_STICKY_HEADR: 'a' })[0], 'did you mean UNDERSTUDY_MODEL_A_STICKY_HEADER?');
  t.match(mistakes({ UNDERSTUDY_MODEL__PRIMARY: 'a' })[0], 'UNDERSTUDY_MODEL__PRIMARY: expected a known name');
});

t.test('names of our other programs and those Kubernetes makes for a Service are left alone', async (t) => {
  const env = {
    UNDERSTUDY_WORKER_BASE_PATH: '/models',
    UNDERSTUDY_INTERCEPT_OUTBOUND_PORTS: '8500',
    UNDERSTUDY_SERVICE_HOST: '10.0.0.1',
    UNDERSTUDY_SERVICE_PORT: '80',
    UNDERSTUDY_SERVICE_PORT_GRPC: '80',
    UNDERSTUDY_PORT: 'tcp://10.0.0.1:80',
    UNDERSTUDY_ADMIN_PORT_80_TCP: 'tcp://10.0.0.1:80',
    UNDERSTUDY_PORT_80_TCP_PROTO: 'tcp',
    UNDERSTUDY_MODEL_GATEWAY_SERVICE_HOST: '10.0.0.1',
    PATH: '/bin',
  };
  t.same(mistakes(env), []);
});

t.test('shorthand groups by name, and the primary names the model', async (t) => {
  const { shorthands } = readEnvironment({
    UNDERSTUDY_MODEL_CREDIT_RISK_PRIMARY: 'credit-risk@1 via 127.0.0.1:8500',
    UNDERSTUDY_MODEL_CREDIT_RISK_SHADOW: 'credit-risk@2, credit-risk@3 50%',
    UNDERSTUDY_MODEL_CREDIT_RISK_CANARY: 'credit-risk@2 5%',
    UNDERSTUDY_MODEL_CREDIT_RISK_FALLBACK: 'credit-risk-lite',
    UNDERSTUDY_MODEL_CREDIT_RISK_COHORT: 'header:x-cohort',
    UNDERSTUDY_MODEL_CREDIT_RISK_STICKY_HEADER: 'X-Customer',
    UNDERSTUDY_MODEL_SHADOW_PRIMARY: 'shadow',
  });
  t.same(
    shorthands.map(({ group }) => group),
    ['CREDIT_RISK', 'SHADOW'],
  );
  t.equal(shorthands[0]!.values.stickyHeader, 'x-customer');
  t.equal(shorthands[0]!.values.shadow!.length, 2);
});

t.test('a canary needs its percentage', async (t) => {
  const env = { UNDERSTUDY_MODEL_A_PRIMARY: 'a@1', UNDERSTUDY_MODEL_A_CANARY: 'a@2' };
  t.match(mistakes(env), [/UNDERSTUDY_MODEL_A_CANARY = "a@2": expected a percentage/]);
});

t.test('settings are checked against each other', async (t) => {
  t.match(mistakes({ UNDERSTUDY_SHUTDOWN_DELAY: '26s' }), [/UNDERSTUDY_SHUTDOWN_DELAY/]);
  t.same(mistakes({ UNDERSTUDY_SHUTDOWN_DELAY: '25s' }), []);
  t.match(mistakes({ UNDERSTUDY_ADMIN_LISTEN: '127.0.0.1:15001' }), [/UNDERSTUDY_OUTBOUND_LISTEN listens there/]);
  t.same(mistakes({ UNDERSTUDY_ADMIN_LISTEN: '127.0.0.1:0', UNDERSTUDY_OUTBOUND_LISTEN: '127.0.0.1:0' }), []);
  t.match(mistakes({ UNDERSTUDY_OUTBOUND_EXPLICIT_PORTS: '1-65' }), [/at most 64 ports/]);
  const [both] = mistakes({ UNDERSTUDY_CONFIG: '{token: hunter2}', UNDERSTUDY_CONFIG_FILE: '/a' });
  t.match(both, 'UNDERSTUDY_CONFIG');
  t.notMatch(both, 'hunter2');
});

t.test('every default is accepted by its own field', async (t) => {
  for (const field of Object.values(PROCESS_FIELDS)) {
    if (field.default === null) continue;
    t.same(mistakes({ [field.environment]: field.default }), [], field.environment);
  }
});

t.test('no environment makes parsing throw', async () => {
  const names = fc.constantFrom(
    ...Object.values(PROCESS_FIELDS).map((field) => field.environment as string),
    'UNDERSTUDY_MODEL_A_PRIMARY',
    'UNDERSTUDY_MODEL_A_CANARY',
    'UNDERSTUDY_MODEL__',
    'UNDERSTUDY_',
  );
  const values = fc.oneof(
    fc.string({ maxLength: 30 }),
    fc.constantFrom('1', '1s', '1MiB', 'a@1', 'a@1 5%', 'off', 'none'),
  );
  fc.assert(
    fc.property(fc.dictionary(names, values), (env) => {
      mistakes(env);
    }),
    { numRuns: runs(500) },
  );
});
