/** Hedged requests in virtual time: every order of events ends every request and every attempt exactly once. */
import fc from 'fast-check';
import t from 'tap';
import { threadMemory } from '../../../../proto/io/memory-budget.ts';
import { ClusterSlot } from '../../../../proxy/stats/slots.ts';
import { Unavailable } from '../../../../proxy/upstream/wait-queue.ts';
import { runs } from '../../../support/fuzz-runs.ts';
import { PlaneLab, type UpstreamCall, type Wire } from '../../../support/plane-lab.ts';

const GOOD = '{"predictions":[[0.5]]}';
const BAD = '{"predictions":[[NaN]]}';

const quiet = { enabled: false };
const hedge = { after: '50ms', budget: '100%', budgetFloor: 1000 };

function lab(model: object = {}): PlaneLab {
  return new PlaneLab({
    models: [
      {
        name: 'm',
        split: [{ model: 'm@1 via 127.0.0.1:1' }],
        fallback: [{ model: 'first@1 via 127.0.0.1:2' }, { model: 'second@1 via 127.0.0.1:3' }],
        hedge,
        checkOutputs: true,
        breaker: quiet,
        timeouts: { request: '1s' },
        ...model,
      },
    ],
  });
}

function reasonOf(caller: Wire): string | undefined {
  return caller.heads[0]?.get('x-understudy-reason');
}

t.test('the hedge begins when the primary has had its time, and not before', async (test) => {
  const at = lab();
  const { caller } = at.ask('m');
  const primary = at.connect()!;
  at.advance(45);
  test.equal(at.waiting.length, 0);
  at.advance(10);
  test.equal(at.waiting.length, 1);
  const second = at.connect()!;
  test.equal(second.attempt.cluster.name, 'first@1');
  second.answer(200, GOOD);
  test.equal(caller.body, GOOD);
  test.equal(reasonOf(caller), 'hedge');
  test.equal(primary.wire.resetCode, 8);
});

t.test("the delay runs from the end of the caller's request", async (test) => {
  const at = lab();
  const { exchange, caller } = at.ask('m');
  test.ok(exchange.bodyEnded);
  at.connect()!.answer(200, GOOD);
  at.advance(200);
  test.equal(at.hedges('STARTED'), 0, 'an answered request is not hedged');
  test.ok(caller.localEnded);
});

t.test('a request that probes a half-open breaker is not hedged: its own outcome decides', async (test) => {
  const at = lab({
    breaker: { consecutiveFailures: 1, open: '100ms', jitter: '0%' },
    fallback: [{ model: 'first@1 via 127.0.0.1:2' }],
  });
  at.ask('m');
  at.connect()!.breakOff(false);
  at.connect()!.answer(200, GOOD);
  test.equal(at.clusters[0]!.breaker.state, 'open');
  at.advance(105);
  const { caller } = at.ask('m');
  const probe = at.connect()!;
  test.equal(probe.attempt.cluster.name, 'm@1');
  at.advance(100);
  test.equal(at.hedges('STARTED'), 0);
  probe.answer(200, GOOD);
  test.equal(at.clusters[0]!.breaker.state, 'closed');
  test.equal(reasonOf(caller), undefined);
});

t.test('a hedge that probes a half-open breaker and loses hands the probe back', async (test) => {
  const at = lab({
    breaker: { consecutiveFailures: 1, open: '100ms', jitter: '0%' },
    fallback: [{ model: 'first@1 via 127.0.0.1:2' }],
  });
  const { breaker } = at.clusters[1]!;
  breaker.openOnce();
  at.advance(105);
  at.ask('m');
  const primary = at.connect()!;
  at.advance(55);
  at.connect();
  test.equal(breaker.state, 'half_open');
  primary.answer(200, GOOD);
  at.ask('m');
  at.connect();
  at.advance(55);
  test.equal(at.waiting.length, 1, 'the next hedge probes');
});

t.test('hedges stay within their share of the requests', async (test) => {
  const at = lab({ hedge: { after: '50ms', budget: '10%', budgetFloor: 0 } });
  for (let i = 0; i < 200; i++) {
    at.ask('m');
    const primary = at.connect()!;
    at.advance(55);
    if (at.waiting.length > 0) at.connect()!.answer(200, GOOD);
    else primary.answer(200, GOOD);
  }
  test.ok(at.hedges('STARTED') >= 15 && at.hedges('STARTED') <= 22, `${at.hedges('STARTED')}`);
  test.equal(at.hedges('STARTED') + at.hedges('OVER_BUDGET'), 200);
});

t.test('a hedge that no cluster takes is counted, and the primary goes on', async (test) => {
  const at = lab({ limits: { concurrentRequests: 1 }, fallback: [{ model: 'first@1 via 127.0.0.1:2' }] });
  at.clusters[1]!.load.tryEnter(1);
  const { caller } = at.ask('m');
  const primary = at.connect()!;
  at.advance(55);
  test.equal(at.hedges('REFUSED'), 1);
  primary.answer(200, GOOD);
  test.equal(caller.body, GOOD);
});

/** One step of a random run; `pick` chooses among what there is. */
type Step = { readonly kind: string; readonly pick: number; readonly ms: number };
const KINDS = [
  'ask',
  'connect',
  'connect',
  'connect',
  'no_connection',
  'good',
  'bad',
  'error',
  'caller_error',
  'half',
  'huge',
  'break',
  'unseen',
  'leave',
  'wait',
  'wait',
  'shed',
];
const step = fc.record({ kind: fc.constantFrom(...KINDS), pick: fc.nat(10), ms: fc.integer({ min: 5, max: 400 }) });

function take(at: PlaneLab, asked: ReturnType<PlaneLab['ask']>[], { kind, pick, ms }: Step): void {
  const open = at.calls.filter((call) => !call.isOver);
  const call: UpstreamCall | undefined = open[pick % Math.max(1, open.length)];
  const one = asked[pick % asked.length];
  const place = pick % Math.max(1, at.waiting.length);
  if (kind === 'ask' && asked.length < 4) asked.push(at.ask('m'));
  else if (kind === 'connect') at.connect(place);
  else if (kind === 'no_connection')
    at.refuseConnection(place, pick % 2 === 0 ? Unavailable.CONNECT_FAILED : Unavailable.PENDING_FULL);
  else if (kind === 'good') call?.answer(200, GOOD);
  else if (kind === 'bad') call?.answer(200, BAD);
  else if (kind === 'error') call?.answer(503, '{"error":"down"}');
  else if (kind === 'caller_error') call?.answer(400, '{"error":"no"}');
  else if (kind === 'half') call?.answer(200, '{"pred', false);
  else if (kind === 'huge') call?.answer(200, 'x'.repeat(1_100_000), false);
  else if (kind === 'break') call?.breakOff(false);
  else if (kind === 'unseen') call?.breakOff(true);
  else if (kind === 'leave') at.leave(one!.exchange, one!.caller);
  else if (kind === 'shed') one!.exchange.shed();
  else if (kind === 'wait') at.advance(ms);
}

t.test('every order of events ends each request and each attempt once, and leaves nothing behind', async (test) => {
  const heldBefore = threadMemory.heldBytes;
  let hedged = 0;
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), fc.constantFrom('fallback', 'endpoint'), (steps, to) => {
      const at = lab({ hedge: { ...hedge, to } });
      const asked = [at.ask('m')];
      for (const one of steps) {
        take(at, asked, one);
        for (const cluster of at.clusters) if (cluster.inFlight < 0) throw new Error('settled twice');
      }
      // Whoever still waits meets its deadline; what streams on is broken off.
      at.advance(1200);
      for (const call of at.calls) if (!call.isOver) call.breakOff(false);
      at.advance(1200);
      const problems: string[] = [];
      const check = (holds: boolean, what: string) => holds || problems.push(what);
      check(at.ends === asked.length, `${at.ends} ends of ${asked.length} requests`);
      check(at.plane.active === 0, 'none is active');
      check(at.sum(ClusterSlot.REQUESTS, 9) === at.attempts.size, 'each attempt is counted once');
      check(
        [...at.attempts].every((attempt) => attempt.settled),
        'each attempt is settled',
      );
      check(
        at.sum(ClusterSlot.IN_FLIGHT) === 0 && at.clusters.every(({ inFlight }) => inFlight === 0),
        'none is in flight',
      );
      check(
        at.clusters.every(({ load }) => load.tryEnter(1)),
        'every place is free',
      );
      check(
        at.calls.every(({ isOver }) => isOver),
        'no upstream call is left open',
      );
      check(
        asked.every(({ caller }) => caller.closed || caller.localEnded),
        'every caller has its answer',
      );
      check(at.plane.bodies.bytes === 0, 'no copy is kept');
      check(threadMemory.heldBytes === heldBefore, `${threadMemory.heldBytes - heldBefore} bytes are held`);
      check(at.wheel.size === 0, 'no timer is armed');
      const settled = at.hedges('WON') + at.hedges('LOST') + at.hedges('FAILED') + at.hedges('CANCELLED');
      check(at.hedges('STARTED') === settled, `${at.hedges('STARTED')} hedges, ${settled} accounted for`);
      hedged += settled;
      if (problems.length > 0) throw new Error(problems.join('; '));
    }),
    { numRuns: runs(150) },
  );
  test.ok(hedged > 30, `${hedged} hedges`);
});
