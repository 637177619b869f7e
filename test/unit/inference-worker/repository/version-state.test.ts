import t from 'tap';
import type { Servable } from '../../../../inference-worker/batching/batcher.ts';
import {
  LEGAL_TRANSITIONS,
  VersionHarness,
  type VersionState,
  type VersionStateKind,
} from '../../../../inference-worker/repository/version-state.ts';
import { FakeServable } from './support.ts';

const KINDS: readonly VersionStateKind[] = ['START', 'LOADING', 'AVAILABLE', 'UNLOADING', 'END'];
const servable = new FakeServable('m', 1n) as unknown as Servable;

const SAMPLES: Readonly<Record<VersionStateKind, VersionState>> = {
  START: { kind: 'START' },
  LOADING: { kind: 'LOADING', attempt: 1, error: null },
  AVAILABLE: { kind: 'AVAILABLE', servable },
  UNLOADING: { kind: 'UNLOADING', servable },
  END: { kind: 'END', error: { code: 3, message: 'bad file' } },
};

/** The shortest legal way from START to each state. */
const PATHS: Readonly<Record<VersionStateKind, readonly VersionStateKind[]>> = {
  START: [],
  LOADING: ['LOADING'],
  AVAILABLE: ['LOADING', 'AVAILABLE'],
  UNLOADING: ['LOADING', 'AVAILABLE', 'UNLOADING'],
  END: ['END'],
};

function harnessIn(kind: VersionStateKind): VersionHarness {
  const harness = new VersionHarness(
    'm',
    { version: 1n, path: '/m/1/model.onnx', label: null, fingerprint: 'f' },
    () => {},
  );
  for (const step of PATHS[kind]) harness.move(SAMPLES[step]);
  return harness;
}

t.test('every legal transition is made and every other one is refused', async (t) => {
  for (const from of KINDS) {
    for (const to of KINDS) {
      const harness = harnessIn(from);
      if (LEGAL_TRANSITIONS[from].includes(to)) {
        harness.move(SAMPLES[to]);
        t.equal(harness.state.kind, to, `${from} to ${to}`);
      } else {
        t.throws(() => harness.move(SAMPLES[to]), { name: 'AssertionError' }, `${from} to ${to} is refused`);
        t.equal(harness.state.kind, from, 'and changes nothing');
      }
    }
  }
});

t.test('a failed version keeps its error', async (t) => {
  const harness = harnessIn('LOADING');
  t.equal(harness.error, null);
  harness.move({ kind: 'END', error: { code: 3, message: 'bad file' } });
  t.same(harness.error, { code: 3, message: 'bad file' });
});
