import t, { type Test } from 'tap';
import { GrpcStatus } from '../../../../base/grpc-status.ts';
import type { Servable } from '../../../../inference-worker/batching/batcher.ts';
import { FakeServable, LoadRefusal, ModelDirectory, repositoryOver } from './support.ts';

/** A base with the given version directories under `m`. */
function baseWith(t: Test, ...versions: string[]): ModelDirectory {
  const base = new ModelDirectory();
  t.teardown(() => base.remove());
  for (const version of versions) base.put(`m/${version}`);
  return base;
}

async function settle(repository: { poll(): Promise<void>; whenSettled(): Promise<void> }): Promise<void> {
  await repository.poll();
  await repository.whenSettled();
}

t.test('a new version is loaded, takes over as latest, and then the old one is unloaded', async (t) => {
  const base = baseWith(t, '1');
  const { repository, changes, loaded } = repositoryOver(base);
  await settle(repository);
  t.equal(repository.view.get('m')?.latest?.version, 1n);
  base.put('m/2');
  await settle(repository);
  t.equal(repository.view.get('m')?.latest?.version, 2n);
  t.equal(repository.view.get('m')?.byVersion.has(1n), false);
  t.ok(loaded[0]?.closed, 'the old servable was closed');
  t.same(changes.slice(2), [
    'm@2 START>LOADING',
    'm@2 LOADING>AVAILABLE',
    'm@1 AVAILABLE>UNLOADING',
    'm@1 UNLOADING>END',
  ]);
  t.same(
    repository.statusOf('m')?.map(({ version, state }) => `${version} ${state}`),
    ['2 AVAILABLE', '1 END'],
  );
});

t.test('a file that is refused ends its version with the error and leaves the rest serving', async (t) => {
  const base = baseWith(t, '1');
  const load = async (model: string, found: { version: bigint; path: string }) => {
    if (found.version === 2n) throw new LoadRefusal(GrpcStatus.INVALID_ARGUMENT, `${found.path} is not a model`);
    return new FakeServable(model, found.version) as unknown as Servable;
  };
  const { repository, changes } = repositoryOver(base, { load });
  await settle(repository);
  base.put('m/2');
  await settle(repository);
  t.equal(repository.view.get('m')?.latest?.version, 1n);
  const [status] = repository.statusOf('m') ?? [];
  t.match(status, { version: 2n, state: 'END', error: { code: GrpcStatus.INVALID_ARGUMENT, message: /not a model/ } });
  t.equal(changes.filter((line) => line.startsWith('m@2')).length, 2, 'and it was not tried again');
  await settle(repository);
  t.equal(changes.filter((line) => line.startsWith('m@2')).length, 2, 'nor at the next poll');
});

t.test('a refused version is tried again once its file is replaced', async (t) => {
  const base = baseWith(t, '1');
  let good = false;
  const { repository } = repositoryOver(base, {
    load: async (model, found) => {
      if (!good) throw new LoadRefusal(GrpcStatus.INVALID_ARGUMENT, 'bad');
      return new FakeServable(model, found.version) as unknown as Servable;
    },
  });
  await settle(repository);
  t.equal(repository.view.get('m')?.latest, null);
  good = true;
  base.put('m/1', 'the right file');
  await settle(repository);
  t.equal(repository.view.get('m')?.latest?.version, 1n);
});

t.test('a fault that may pass is retried within the bound', async (t) => {
  const base = baseWith(t, '1');
  let attempts = 0;
  const { repository, changes } = repositoryOver(base, {
    load: async () => {
      attempts++;
      throw new Error('disk went away');
    },
  });
  await settle(repository);
  t.equal(attempts, 1, 'start-up does not wait for retries');
  while (repository.statusOf('m')?.[0]?.state !== 'END') await new Promise((resolve) => setTimeout(resolve, 2));
  t.equal(attempts, 3, 'the first attempt and two retries');
  t.same(repository.statusOf('m')?.[0]?.error, { code: GrpcStatus.UNKNOWN, message: 'disk went away' });
  t.same(changes, ['m@1 START>LOADING', 'm@1 LOADING>LOADING', 'm@1 LOADING>LOADING', 'm@1 LOADING>END']);
});

t.test('a version waiting for its retry is given up when it is no longer wanted', async (t) => {
  const base = baseWith(t, '1');
  const { repository } = repositoryOver(base, {
    loadRetryMs: 60_000,
    load: async () => {
      throw new Error('disk went away');
    },
  });
  await settle(repository);
  t.equal(repository.statusOf('m')?.[0]?.state, 'LOADING');
  base.remove('m/1');
  await settle(repository);
  t.equal(repository.statusOf('m')?.[0]?.state, 'END');
});

t.test('an unreadable base path changes nothing, an empty one unloads', async (t) => {
  const base = baseWith(t, '1');
  const { repository, loaded } = repositoryOver(base);
  await settle(repository);
  base.remove('m');
  await settle(repository);
  t.equal(repository.view.get('m')?.latest?.version, 1n, 'a mount that went away does not stop serving');
  base.put('m/other');
  await settle(repository);
  t.equal(repository.view.get('m')?.latest, null);
  t.ok(loaded[0]?.closed);
});

t.test('loads happen one at a time', async (t) => {
  const base = baseWith(t, '1', '2', '3');
  let running = 0;
  let most = 0;
  const { repository } = repositoryOver(base, {
    policy: { kind: 'all' },
    load: async (model, found) => {
      most = Math.max(most, ++running);
      await new Promise((resolve) => setImmediate(resolve));
      running--;
      return new FakeServable(model, found.version) as unknown as Servable;
    },
  });
  await settle(repository);
  t.equal(repository.view.get('m')?.byVersion.size, 3);
  t.equal(most, 1);
});

t.test('children of the repository directory come and go as models', async (t) => {
  const base = baseWith(t);
  base.put('a/1');
  base.put('skipped/1');
  const directory = {
    path: base.path,
    policyOf: () => ({ kind: 'all' }) as const,
    accepts: (name: string) => name !== 'skipped',
  };
  const { repository, loaded } = repositoryOver(base, { models: [], directory });
  await settle(repository);
  t.same([...repository.view.keys()], ['a']);
  base.put('b/4');
  base.remove('a');
  await settle(repository);
  await settle(repository);
  t.same([...repository.view.keys()], ['b']);
  t.ok(loaded[0]?.closed);
});

t.test('close unloads everything, a load in flight included, and begins nothing', async (t) => {
  const base = baseWith(t, '1', '2');
  let release = (): void => {};
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  const made: FakeServable[] = [];
  const { repository } = repositoryOver(base, {
    policy: { kind: 'all' },
    load: async (model, found) => {
      await gate;
      const servable = new FakeServable(model, found.version);
      made.push(servable);
      return servable as unknown as Servable;
    },
  });
  await repository.poll();
  const closing = repository.close();
  release();
  await closing;
  t.equal(made.length, 1);
  t.ok(made[0]?.closed);
  t.same(
    repository.statusOf('m')?.map(({ state }) => state),
    ['END', 'END'],
  );
});
