import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { getPriority } from 'node:os';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import {
  LOADING_PRIORITY,
  loadsAlone,
  lowerPriority,
  mayRaisePriority,
} from '../../../../inference-worker/session/loading-priority.ts';
import { DEFAULT_EXECUTION } from '../../../../inference-worker/session/provider-options.ts';

const MODULE = new URL('../../../../inference-worker/session/loading-priority.ts', import.meta.url).href;

t.test('only who may take a priority back up lowers it', async (t) => {
  t.ok(mayRaisePriority('Name:\tnode\nCapEff:\t000001ffffffffff\nCapBnd:\t0\n'));
  t.notOk(mayRaisePriority('CapEff:\t00000000a80425fb\n'), "a container's usual capabilities");
  t.notOk(mayRaisePriority(''));
});

t.test('loading that starts threads of its own stays at its priority, which they would inherit', async (t) => {
  t.ok(loadsAlone(DEFAULT_EXECUTION));
  t.notOk(loadsAlone({ ...DEFAULT_EXECUTION, intraOpThreads: 2 }));
  t.notOk(loadsAlone({ ...DEFAULT_EXECUTION, intraOpThreads: 0 }));
  t.notOk(loadsAlone({ ...DEFAULT_EXECUTION, interOpThreads: 4 }));
  t.notOk(loadsAlone({ ...DEFAULT_EXECUTION, providers: [{ name: 'cuda', deviceIds: [], options: {} }] }));
});

t.test('the priority is as before when loading ends', async (t) => {
  const before = getPriority();
  const may = process.platform === 'linux' && mayRaisePriority(readFileSync('/proc/self/status', 'utf8'));
  const restore = lowerPriority();
  t.equal(getPriority(), may ? LOADING_PRIORITY : before);
  restore();
  t.equal(getPriority(), before);
});

t.test('a thread gives way by itself: the others keep their priority', async (t) => {
  const before = getPriority();
  const thread = new Worker(
    `import { giveWay } from ${JSON.stringify(MODULE)};
     import { getPriority } from 'node:os';
     import { parentPort } from 'node:worker_threads';
     giveWay();
     parentPort.postMessage(getPriority());`,
    { eval: true },
  );
  const [seen] = await once(thread, 'message');
  t.equal(seen, process.platform === 'linux' ? LOADING_PRIORITY : before);
  t.equal(getPriority(), before);
});
