/** Steps of a fallback list in virtual time: each has its own share of what is left of the deadline. */
import t from 'tap';
import { ClusterSlot } from '../../../../proxy/stats/slots.ts';
import { PlaneLab } from '../../../support/plane-lab.ts';

const GOOD = '{"predictions":[[0.5]]}';

function lab(model: object, env: Readonly<Record<string, string>> = {}): PlaneLab {
  const document = {
    models: [{ name: 'm', split: [{ model: 'm@1 via 127.0.0.1:1' }], breaker: { enabled: false }, ...model }],
  };
  return new PlaneLab(document, env);
}

/** When each cluster was asked, milliseconds after the request came, while nobody answers. */
function whenAsked(at: PlaneLab): { readonly asked: Record<string, number>; readonly status: string | undefined } {
  const { caller, exchange } = at.ask('m');
  const startMs = at.clock.nowMs();
  const asked: Record<string, number> = {};
  for (let ms = 0; ms < 2000 && !caller.localEnded; ms += 5) {
    const call = at.connect();
    if (call !== null) asked[call.attempt.cluster.name] = Math.round(at.clock.nowMs() - startMs);
    at.advance(5);
  }
  return { asked, status: exchange.stage === 3 ? caller.heads[0]!.get(':status') : undefined };
}

t.test('each step has its own budget of the deadline that remains, and the last all of it', async (test) => {
  const at = lab({
    timeouts: { request: '1s' },
    primaryBudget: '50%',
    fallback: [
      { model: 'a@1 via 127.0.0.1:2', budget: '20%' },
      { model: 'b@1 via 127.0.0.1:3', budget: '50%' },
      { model: 'c@1 via 127.0.0.1:4' },
    ],
  });
  const { asked, status } = whenAsked(at);
  // 500 of 1000 ms; 20 % of the 500 left; half of the 400 left; the rest. A timer is late by a tick or two, never early.
  for (const [name, dueMs] of Object.entries({ 'm@1': 0, 'a@1': 500, 'b@1': 600, 'c@1': 800 })) {
    test.ok(asked[name]! >= dueMs && asked[name]! <= dueMs + 25, `${name}: ${asked[name]} ms`);
  }
  test.equal(status, '504');
  test.equal(at.ends, 1);
});

t.test('budgets that are not written are equal parts of what is left', async (test) => {
  const targets = ['a', 'b', 'c', 'd'].map((name, i) => ({ model: `${name}@1 via 127.0.0.1:${i + 2}` }));
  const at = lab({ timeouts: { request: '1s' }, primaryBudget: '20%', fallback: targets });
  const { asked } = whenAsked(at);
  for (const [name, dueMs] of Object.entries({ 'a@1': 200, 'b@1': 400, 'c@1': 600, 'd@1': 800 })) {
    test.ok(asked[name]! >= dueMs && asked[name]! <= dueMs + 30, `${name}: ${asked[name]} ms`);
  }
});

t.test('a step that fails at once leaves its time to the next', async (test) => {
  const at = lab({
    timeouts: { request: '1s' },
    fallback: [{ model: 'a@1 via 127.0.0.1:2', budget: '10%' }, { model: 'b@1 via 127.0.0.1:3' }],
  });
  const { caller } = at.ask('m');
  at.connect()!.breakOff(false);
  at.connect()!.answer(503, '{"error":"down"}');
  const last = at.connect()!;
  at.advance(900);
  test.notOk(last.wire.closed, 'it has all that is left');
  last.answer(200, GOOD);
  test.equal(caller.body, GOOD);
  test.equal(caller.heads[0]!.get('x-understudy-reason'), 'reset', 'for what the primary did');
});

t.test(
  'a request above the bound is sent and not replayed, though all of it came before it could leave',
  async (test) => {
    const at = lab({ fallback: [{ model: 'a@1 via 127.0.0.1:2' }], maxReplaySize: '1KiB' });
    const { caller, exchange } = at.ask('m', 2000);
    const call = at.connect()!;
    test.equal(call.wire.body.length, 2000);
    test.equal(exchange.replayable, false);
    test.equal(at.sum(ClusterSlot.NOT_REPLAYABLE), 1);
    call.answer(503, '{"error":"down"}');
    test.match(caller.body, /down/);
    test.equal(at.waiting.length, 0, 'nobody else is asked');
  },
);

t.test('copies are bounded in total: above it requests are sent and not replayed, and counted', async (test) => {
  const model = { fallback: [{ model: 'a@1 via 127.0.0.1:2' }] };
  const at = lab(model, { UNDERSTUDY_OUTBOUND_MAX_REPLAY_SIZE: '4KiB' });
  const asked = Array.from({ length: 6 }, () => {
    const one = at.ask('m', 1000);
    return { ...one, call: at.connect()! };
  });
  test.same(
    asked.map(({ exchange }) => exchange.replayable),
    [true, true, true, true, false, false],
  );
  test.equal(at.sum(ClusterSlot.NOT_REPLAYABLE), 2);
  for (const { call } of asked) call.breakOff(false);
  test.equal(at.waiting.length, 4, 'the others are asked again elsewhere');
  while (at.waiting.length > 0) at.connect()!.answer(200, GOOD);
  const answered = asked.map(({ caller }) => caller.heads[0]!.get(':status'));
  test.same(answered, ['200', '200', '200', '200', '502', '502']);
  test.equal(at.plane.bodies.bytes, 0);
});
