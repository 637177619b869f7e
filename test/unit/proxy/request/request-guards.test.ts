/** Injected faults under virtual time and seeded chance: whom they happen to, when, and what they end in. */
import t from 'tap';
import type { WheelTimer } from '../../../../base/timer-wheel.ts';
import { HeaderList } from '../../../../proto/http2/header-list.ts';
import type { FaultSnapshot } from '../../../../proxy/config/guard-snapshot.ts';
import type { MeshSnapshot } from '../../../../proxy/config/snapshot.ts';
import { GuardCells, GuardCount } from '../../../../proxy/policy/guard-cells.ts';
import { Stage } from '../../../../proxy/request/exchange.ts';
import { RequestGuards } from '../../../../proxy/request/request-guards.ts';
import { VirtualClock } from '../../../support/virtual-clock.ts';

const FAULT: FaultSnapshot = {
  name: 'drill',
  subject: { kind: 'model', name: 'm' },
  header: '',
  headerValue: null,
  percentHundredths: 10_000,
  delayMs: 0,
  abortStatus: 14,
  abortHttpStatus: 503,
  place: 0,
};

/** A path that only notes what is done with its requests, and a wheel that turns when told to. */
class World {
  readonly clock = new VirtualClock();
  readonly cells = new GuardCells(GuardCells.allocate(1, this.clock.nowMs()));
  readonly done: string[] = [];
  readonly guards: RequestGuards;
  private readonly timers: { readonly timer: WheelTimer; readonly dueMs: number }[] = [];

  constructor(fault: Partial<FaultSnapshot>) {
    let state = 1;
    const random = () => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return state / 2 ** 32;
    };
    this.guards = new RequestGuards(this.cells, random);
    this.guards.use({ rateLimits: [], faults: [{ ...FAULT, ...fault }] } as unknown as MeshSnapshot);
  }

  request(headers: [string, string][] = []) {
    const { clock, done, timers } = this;
    const plane = {
      clock,
      wheel: { arm: (timer: WheelTimer, dueMs: number) => timers.push({ timer, dueMs }) },
      attemptWith: () => done.push('goes on'),
      refused: (_exchange: unknown, _reason: number, error: { grpcStatus: number; httpStatus: number; code: string }) =>
        done.push(`${error.code} ${error.grpcStatus} ${error.httpStatus}`),
    };
    return { plane, head: HeaderList.of(...headers), stage: Stage.FORWARDING, attempt: null, nextFallback: 0 };
  }

  /** Whether the fault took the request. */
  injects(request: object, name = 'm'): boolean {
    return this.guards.injects(request as never, {} as never, 'model', name);
  }

  advance(ms: number): void {
    this.clock.advance(ms);
    for (const { timer, dueMs } of this.timers.splice(0)) {
      if (dueMs <= this.clock.nowMs()) timer.onExpire(this.clock.nowMs());
      else this.timers.push({ timer, dueMs });
    }
  }
}

t.test('nothing happens to anybody without a fault, nor to others than it is for', async (test) => {
  const world = new World({});
  test.notOk(world.injects(world.request(), 'other'));
  world.guards.use({ rateLimits: [], faults: [] } as unknown as MeshSnapshot);
  test.notOk(world.guards.active);
  test.notOk(world.injects(world.request()));
  test.same(world.done, []);
});

t.test('a percentage is a share of the requests', async (test) => {
  const world = new World({ percentHundredths: 2500 });
  let hit = 0;
  for (let i = 0; i < 4000; i++) if (world.injects(world.request())) hit++;
  test.ok(hit > 900 && hit < 1100, `${hit} of 4000`);
  test.equal(world.cells.read(0, GuardCount.ACTED), hit);
  test.same(new Set(world.done), new Set(['fault_injected 14 503']));
  const none = new World({ percentHundredths: 0 });
  for (let i = 0; i < 100; i++) test.notOk(none.injects(none.request()));
});

t.test('a header chooses whom it happens to, by its presence or its whole value', async (test) => {
  const present = new World({ header: 'x-drill' });
  test.ok(present.injects(present.request([['x-drill', 'any']])));
  test.notOk(present.injects(present.request()));
  const exact = new World({ header: 'x-drill', headerValue: 'yes' });
  test.ok(exact.injects(exact.request([['x-drill', 'yes']])));
  test.notOk(exact.injects(exact.request([['x-drill', 'yes!']])));
});

t.test('a delay passes in full before the abort, or before the request goes on', async (test) => {
  const both = new World({ delayMs: 200 });
  test.ok(both.injects(both.request()));
  both.advance(199);
  test.same(both.done, []);
  both.advance(1);
  test.same(both.done, ['fault_injected 14 503']);
  test.same(
    [GuardCount.ACTED, GuardCount.PASSED].map((count) => both.cells.read(0, count)),
    [1, 1],
  );
  const only = new World({ delayMs: 200, abortStatus: 0, abortHttpStatus: 0 });
  test.ok(only.injects(only.request()));
  test.equal(only.guards.delayed, 1);
  only.advance(200);
  test.same(only.done, ['goes on']);
  test.equal(only.guards.delayed, 0);
});

t.test('a request that ended or went to a fallback while it was delayed is left alone', async (test) => {
  const world = new World({ delayMs: 50 });
  const requests = [world.request(), world.request(), world.request()];
  for (const request of requests) test.ok(world.injects(request));
  requests[0]!.stage = Stage.DONE as never;
  requests[1]!.nextFallback = 1;
  Object.assign(requests[2]!, { attempt: {} });
  world.advance(50);
  test.same(world.done, []);
  test.equal(world.guards.delayed, 0);
});
