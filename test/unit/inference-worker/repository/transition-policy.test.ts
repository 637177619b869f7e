import fc from 'fast-check';
import t from 'tap';
import { nextTransition, type VersionStanding } from '../../../../inference-worker/repository/transition-policy.ts';
import type { VersionStateKind } from '../../../../inference-worker/repository/version-state.ts';
import { runs } from '../../../support/fuzz-runs.ts';

const at = (version: bigint, state: VersionStateKind, wanted: boolean): VersionStanding => ({ version, state, wanted });

t.test('the new version is loaded before the old one is unloaded', async (t) => {
  t.same(nextTransition([at(1n, 'AVAILABLE', false), at(2n, 'START', true)], true), { kind: 'load', version: 2n });
  t.equal(nextTransition([at(1n, 'AVAILABLE', false), at(2n, 'LOADING', true)], true), null);
  t.same(nextTransition([at(1n, 'AVAILABLE', false), at(2n, 'AVAILABLE', true)], true), {
    kind: 'unload',
    version: 1n,
  });
});

t.test('a new version that failed leaves the old one serving', async (t) => {
  t.equal(nextTransition([at(1n, 'AVAILABLE', false), at(2n, 'END', true)], true), null);
});

t.test('with nothing wanted everything goes, the lowest first', async (t) => {
  t.same(nextTransition([at(3n, 'AVAILABLE', false), at(2n, 'AVAILABLE', false)], true), {
    kind: 'unload',
    version: 2n,
  });
});

t.test('no load begins while the slots are taken and other steps go on', async (t) => {
  t.equal(nextTransition([at(2n, 'START', true)], false), null);
  t.same(nextTransition([at(3n, 'START', false), at(2n, 'START', true)], false), { kind: 'drop', version: 3n });
});

t.test('a model that serves keeps serving whatever the policy is asked', async () => {
  const kinds: VersionStateKind[] = ['START', 'LOADING', 'AVAILABLE', 'UNLOADING', 'END'];
  const standing = fc.record({ state: fc.constantFrom(...kinds), wanted: fc.boolean() });
  fc.assert(
    fc.property(fc.array(standing, { maxLength: 6 }), fc.boolean(), (list, mayLoad) => {
      const versions = list.map(({ state, wanted }, i) => at(BigInt(i), state, wanted));
      const action = nextTransition(versions, mayLoad);
      if (action?.kind !== 'unload') return;
      const others = versions.filter((v) => v.version !== action.version && v.state === 'AVAILABLE');
      const wanted = versions.some((v) => v.wanted);
      if (wanted && others.length === 0) throw new Error('unloaded the only serving version');
      if (versions.find((v) => v.version === action.version)?.wanted) throw new Error('unloaded a wanted version');
    }),
    { numRuns: runs(300) },
  );
});
