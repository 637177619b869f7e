/** Which requests are mirrored: run with `child` as its argument, it prints what another process selects. */
import { spawnSync } from 'node:child_process';
import t from 'tap';
import { HeaderList } from '../../../../proto/http2/header-list.ts';
import { MemoryBudget } from '../../../../proto/io/memory-budget.ts';
import type { MeshModel } from '../../../../proxy/mesh.ts';
import type { Exchange } from '../../../../proxy/request/exchange.ts';
import { murmur3, murmur3Bytes } from '../../../../proxy/routing/murmur3.ts';
import { MirrorPressure } from '../../../../proxy/shadowing/mirror-pressure.ts';
import {
  pointOfHead,
  pointOfLarge,
  pointOfMessage,
  WHEN_COMPLETE,
} from '../../../../proxy/shadowing/mirror-sampling.ts';
import { PROCESS_SLOTS, ProcessSlot } from '../../../../proxy/stats/slots.ts';
import { integers, request, seeded } from '../mirror/pairs.ts';

const REQUESTS = 10_000;

function modelWith(policy: { stickyHeader?: string; stickyInput?: string; salt?: string }): MeshModel {
  return { config: { stickyHeader: '', stickyInput: '', salt: 'm', ...policy } } as unknown as MeshModel;
}

function exchangeWith(head: HeaderList): Exchange {
  return { head, traits: { call: { method: 'Predict' }, encoding: '' } } as unknown as Exchange;
}

function point(model: MeshModel, head: HeaderList, message: Buffer): number {
  const exchange = exchangeWith(head);
  const early = pointOfHead(exchange, model);
  return early === WHEN_COMPLETE ? pointOfMessage(exchange, model, message, message.length) : early;
}

const MODELS: Readonly<Record<string, MeshModel>> = {
  sticky: modelWith({ stickyHeader: 'x-customer' }),
  input: modelWith({ stickyInput: 'kind' }),
  id: modelWith({}),
  message: modelWith({}),
};

/** Points of the same 10,000 requests in every process. */
function points(by: string): number[] {
  const random = seeded(11);
  return Array.from({ length: REQUESTS }, (_, i) => {
    const key = Math.floor(random() * 1e9);
    const head = {
      sticky: HeaderList.of(['x-customer', `c${key}`], ['x-request-id', `${i}`]),
      input: HeaderList.of(['x-request-id', `${i}`]),
      id: HeaderList.of(['x-request-id', `r-${key}`]),
      message: HeaderList.of(),
    }[by]!;
    return point(MODELS[by]!, head, request({ kind: integers([1], [key]) }));
  });
}

if (process.argv[2] === 'child') {
  process.stdout.write(JSON.stringify(Object.keys(MODELS).map(points)));
} else {
  t.test('two processes select the same requests, by sticky key, input, request id and message', async (test) => {
    const child = spawnSync(process.execPath, [import.meta.filename, 'child'], { maxBuffer: 1 << 24 });
    const theirs = JSON.parse(child.stdout.toString()) as number[][];
    for (const [i, by] of Object.keys(MODELS).entries()) {
      const ours = points(by);
      test.same(theirs[i], ours, by);
      for (const share of [1, 50, 500, 5000]) {
        const selected = ours.filter((value) => value < share).length;
        const expected = (REQUESTS * share) / 10_000;
        test.ok(Math.abs(selected - expected) < 5 * Math.sqrt(expected) + 1, `${by}: ${selected} at ${share / 100} %`);
      }
    }
  });

  t.test('two shadows of the same share see the same requests, a larger one sees those too', async (test) => {
    const all = points('message');
    const five = new Set(all.flatMap((value, i) => (value < 500 ? [i] : [])));
    const ten = new Set(all.flatMap((value, i) => (value < 1000 ? [i] : [])));
    test.ok([...five].every((i) => ten.has(i)));
  });

  t.test('the sticky key decides before the request id, and the id before the message', async (test) => {
    const model = MODELS['sticky']!;
    const message = request({ kind: integers([1], [1]) });
    const other = request({ kind: integers([1], [2]) });
    const of = (...pairs: [string, string][]) => HeaderList.of(...pairs);
    const customer: [string, string] = ['x-customer', 'c'];
    test.equal(
      point(model, of(customer, ['x-request-id', '1']), message),
      point(model, of(customer, ['x-request-id', '2']), other),
    );
    test.equal(point(model, of(['x-request-id', '1']), message), point(model, of(['x-request-id', '1']), other));
    test.not(point(model, of(), message), point(model, of(), other));
  });

  t.test('a request that has only begun is known by what it will be known by, or not at all', async (test) => {
    const random = seeded(5);
    for (let i = 0; i < 40; i++) {
      const values = Array.from({ length: 30_000 }, () => Math.floor(random() * 1e6));
      const message = request({ x: integers([values.length], values) });
      const exchange = exchangeWith(HeaderList.of());
      const whole = pointOfMessage(exchange, MODELS['message']!, message, message.length);
      for (const length of [65_536, 70_000, message.length]) {
        test.equal(pointOfLarge(exchange, MODELS['message']!, message, length), whole);
      }
      test.equal(pointOfLarge(exchange, MODELS['message']!, message, 65_535), WHEN_COMPLETE);
    }
    const named = exchangeWith(HeaderList.of(['x-request-id', 'r']));
    const large = request({
      x: integers(
        [30_000],
        Array.from({ length: 30_000 }, () => 1),
      ),
    });
    test.equal(pointOfLarge(named, MODELS['id']!, large, 10), pointOfHead(named, MODELS['id']!));
  });

  t.test('another salt selects other requests', async (test) => {
    const head = (i: number) => HeaderList.of(['x-request-id', String(i)]);
    const select = (model: MeshModel) =>
      Array.from({ length: 1000 }, (_, i) => point(model, head(i), Buffer.alloc(0)) < 5000);
    const [a, b] = [select(modelWith({ salt: 'a' })), select(modelWith({ salt: 'b' }))];
    const same = a.filter((chosen, i) => chosen === b[i]).length;
    test.ok(same > 400 && same < 600, `${same} of 1000 alike`);
  });

  t.test('bytes hash as the same text does, and a large message costs no more than its first part', async (test) => {
    for (const text of ['', 'a', 'ab', 'abc', 'abcd', 'a longer text']) {
      const bytes = Buffer.from(text, 'latin1');
      test.equal(murmur3Bytes(bytes, bytes.length, 7), murmur3(text, 7 ^ bytes.length));
    }
    const large = Buffer.alloc(200_000);
    const before = murmur3Bytes(large, large.length, 0);
    large[150_000] = 1;
    test.equal(murmur3Bytes(large, large.length, 0), before, 'what lies behind 64 KiB is not looked at');
    test.not(murmur3Bytes(large, large.length - 1, 0), before, 'but the length is');
  });

  t.test(
    'shadows give way when the loop is late, replay copies fill up, or memory is held for slow peers',
    async (test) => {
      const cells = new Float64Array(PROCESS_SLOTS);
      const memory = new MemoryBudget(1000);
      const pressure = new MirrorPressure({ cells, memory, maxReplayBytes: () => 1000 });
      test.notOk(pressure.isShort);
      cells[ProcessSlot.LOOP_LAG] = 0.3;
      test.ok(pressure.isShort);
      cells[ProcessSlot.LOOP_LAG] = 0;
      cells[ProcessSlot.REPLAY_BYTES] = 800;
      test.ok(pressure.isShort);
      cells[ProcessSlot.REPLAY_BYTES] = 100;
      memory.hold(600);
      test.ok(pressure.isShort);
      memory.release(600);
      test.notOk(pressure.isShort);
    },
  );
}
