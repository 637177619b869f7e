import t from 'tap';
import type { ModelConfig } from '../../../../inference-worker/repository/managed-model.ts';
import { LATEST_ONE } from '../../../../inference-worker/repository/version-policy.ts';
import {
  divideIntoGroups,
  type GroupingInput,
  modelsOfFile,
  parseGroup,
} from '../../../../inference-worker/supervision/isolation-groups.ts';

const model = (name: string): ModelConfig => ({
  name,
  basePath: `/models/${name}`,
  policy: LATEST_ONE,
  labels: new Map(),
});

function input(requests: string[], more: Partial<GroupingInput> = {}): GroupingInput {
  return {
    requests: requests.map(parseGroup),
    models: [],
    directory: '',
    directoryPolicy: LATEST_ONE,
    host: '0.0.0.0',
    addresses: [{ kind: 'tcp', host: '0.0.0.0', port: 8500 }],
    restAddresses: [],
    configFile: '',
    fileModels: new Set(),
    ...more,
  };
}

t.test('without groups one process serves everything at the port', async (t) => {
  const { groups, problems } = divideIntoGroups(input([], { models: [model('a'), model('b')] }));
  t.same(problems, []);
  t.equal(groups.length, 1);
  t.match(groups[0], { name: 'default', addresses: [{ port: 8500 }], directory: null });
  t.same(
    groups[0]?.models.map(({ name }) => name),
    ['a', 'b'],
  );
});

t.test('models go to the group that names them and the star takes the rest', async (t) => {
  const { groups, problems } = divideIntoGroups(
    input(['one:/run/one.sock:a', 'rest:9000:*'], { models: [model('a'), model('b'), model('c')] }),
  );
  t.same(problems, []);
  t.same(
    groups.map((group) => group.models.map(({ name }) => name)),
    [['a'], ['b', 'c']],
  );
  t.same(
    groups.map((group) => group.addresses),
    [[{ kind: 'unix', path: '/run/one.sock' }], [{ kind: 'tcp', host: '0.0.0.0', port: 9000 }]],
  );
});

t.test('two versions of one model can live in two processes', async (t) => {
  const { groups, problems } = divideIntoGroups(input(['p:/p.sock:m@1', 's:/s.sock:m@2+3'], { models: [model('m')] }));
  t.same(problems, []);
  t.same(
    groups.map((group) => group.models[0]?.policy),
    [
      { kind: 'specific', versions: [1n] },
      { kind: 'specific', versions: [2n, 3n] },
    ],
  );
});

t.test('a repository directory is divided by names, policies and the rest', async (t) => {
  const { groups, problems } = divideIntoGroups(
    input(['p:/p.sock:m@all', 'f:/f.sock:lite', 'r:/r.sock:*'], { directory: '/models' }),
  );
  t.same(problems, []);
  t.match(groups[0]?.directory, { only: ['m'], except: [], path: '/models' });
  t.same(groups[0]?.directory?.policies.get('m'), { kind: 'all' });
  t.match(groups[1]?.directory, { only: ['lite'] });
  t.match(groups[2]?.directory, { only: null, except: ['m', 'lite'] });
});

t.test('every contradiction between groups is reported', async (t) => {
  const { problems } = divideIntoGroups(
    input(['g:/g.sock:a', 'g:/g.sock:a', 'h:/h.sock:nobody'], { models: [model('a'), model('b')] }),
  );
  t.same(
    problems.map((problem) => problem.slice(0, 40)),
    [
      '--group: two groups are named g',
      '--group: two groups listen at /g.sock',
      '--group: model a is in two groups; that needs versions that differ, like a@1 and a@2'.slice(0, 40),
      '--group: model nobody is not configured',
      '--group: no group serves model b',
    ],
  );
});

t.test('a malformed group says what was expected', async (t) => {
  for (const text of [
    '',
    'g',
    'g:/s.sock',
    'g:/s.sock:',
    'g:/s.sock:a@x',
    'g g:/s.sock:a',
    'g:/s:x:a',
    'g:70000:a',
    'g::a',
  ]) {
    t.throws(() => parseGroup(text), Error, JSON.stringify(text));
  }
});

t.test(
  "a configuration file's models are divided like the others, and flags' models stay when it changes",
  async (t) => {
    const requests = ['a:/a.sock:one@2,fixed', 'b:/b.sock:*'];
    const models = [model('one'), model('two'), model('fixed')];
    const { groups } = divideIntoGroups(
      input(requests, { models, configFile: '/models.config', fileModels: new Set(['one', 'two']) }),
    );
    const after = [model('one'), model('two'), model('three'), model('fixed')];
    const served = groups.map(({ configFile }) => modelsOfFile(configFile!, after));
    t.same(
      served.map((list) => list.map(({ name }) => name)),
      [
        ['fixed', 'one'],
        ['two', 'three'],
      ],
    );
    t.match(served[0]?.[1]?.policy, { kind: 'specific', versions: [2n] });
  },
);
