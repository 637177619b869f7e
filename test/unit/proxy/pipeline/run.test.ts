import fc from 'fast-check';
import t from 'tap';
import { PREFIX_BYTES } from '../../../../proto/grpc/message-framing.ts';
import { PredictRequestView, parsePredictRequest } from '../../../../proto/tensor/predict-message.ts';
import { tensorKey } from '../../../../proto/tensor/tensor-writer.ts';
import type { DefaultOutput, PipelineSnapshot } from '../../../../proxy/config/pipeline-snapshot.ts';
import { framedResponse, type PassedTensor, tensorInPlace } from '../../../../proxy/pipeline/passed-tensor.ts';
import { PipelinePlan, type StepPlan } from '../../../../proxy/pipeline/plan.ts';
import {
  PipelineRun,
  type RunFailure,
  type StepCall,
  type StepCaller,
  type StepReceiver,
} from '../../../../proxy/pipeline/run.ts';
import { PipelineEnd, PipelineSlot, StepEnd, StepSlot } from '../../../../proxy/stats/pipeline-slots.ts';
import { decodeMessage, encodeMessage } from '../../../support/proto-codecs.ts';
import { VirtualClock } from '../../../support/virtual-clock.ts';

/** Slots of the pipeline, then of each step. */
const STEP_SLOTS_EACH = 200;

interface StepShape {
  readonly inputs: readonly { readonly step: number; readonly name: string }[];
  readonly outputs: readonly string[];
  readonly budget?: number;
  readonly defaults?: readonly DefaultOutput[] | null;
}

/** A pipeline of one input `x`; its outputs are those of every step, as `STEP.NAME`. */
function planOf(steps: readonly StepShape[], more: Partial<PipelineSnapshot> = {}): PipelinePlan {
  return new PipelinePlan({
    name: 'p',
    version: '1',
    timeoutMs: 0,
    inputs: [{ name: 'x', dtype: 9, shape: [] }],
    steps: steps.map(({ inputs, outputs, budget = 1, defaults = null }, i) => ({
      name: `s${i}`,
      model: `m${i}`,
      protocol: 'tensorflow-serving',
      inputs: inputs.map((from, at) => ({ name: `i${at}`, from })),
      outputs,
      budgetFraction: budget,
      defaults,
      statsBase: (i + 1) * STEP_SLOTS_EACH,
    })),
    outputs: steps.flatMap(({ outputs }, step) =>
      outputs.map((name) => ({ name: `s${step}.${name}`, dtype: 9, shape: [], from: { step, name } })),
    ),
    maxConcurrent: 10,
    maxBytes: 1_000_000,
    statsBase: 0,
    ...more,
  });
}

function scalarOf(value: bigint, dtype = 9): PassedTensor {
  const list = dtype === 9 ? { int64_val: [String(value)] } : { float_val: [Number(value)] };
  const inputs = { v: { dtype, tensor_shape: { dim: [] }, ...list } };
  const bytes = encodeMessage('tensorflow.serving.PredictRequest', { inputs });
  const view = new PredictRequestView();
  parsePredictRequest(view, bytes, 0, bytes.length);
  return tensorInPlace(bytes, view.inputs.tensors[0]!);
}

function numberOf(tensor: PassedTensor): bigint {
  const bytes = framedResponse(Buffer.alloc(0), [tensorKey('v')], [tensor]).subarray(PREFIX_BYTES);
  const { int64_val: list, tensor_content: content } = decodeMessage('tensorflow.serving.PredictResponse', bytes)
    .outputs.v;
  return list.length > 0 ? BigInt(list[0]) : content.readBigInt64LE(0);
}

/** Calls that are open, answered when the test says so. */
class OpenCalls implements StepCaller {
  readonly open = new Map<number, { step: StepPlan; request: Buffer; deadlineMs: number; receiver: StepReceiver }>();
  /** In the order they began. */
  readonly begun: number[] = [];
  readonly cancelled: number[] = [];
  released = 0;

  call(step: StepPlan, request: Buffer, deadlineMs: number, receiver: StepReceiver): StepCall {
    this.begun.push(step.index);
    this.open.set(step.index, { step, request, deadlineMs, receiver });
    return {
      cancel: () => {
        this.cancelled.push(step.index);
        this.open.delete(step.index);
      },
    };
  }

  /** The inputs a step was sent, by an independent decoder. */
  inputs(index: number): Record<string, { int64_val: string[] }> {
    const { request } = this.open.get(index)!;
    return decodeMessage('tensorflow.serving.PredictRequest', request.subarray(PREFIX_BYTES)).inputs;
  }

  answer(index: number, values: Readonly<Record<string, bigint>>, reason = ''): void {
    const { step, receiver } = this.open.get(index)!;
    const outputs = Object.entries(values).map(([name, value]) => [
      name,
      { dtype: 9, tensor_shape: { dim: [] }, int64_val: [String(value)] },
    ]);
    const bytes = encodeMessage('tensorflow.serving.PredictResponse', { outputs: Object.fromEntries(outputs) });
    if (!receiver.takes(bytes.length)) return;
    this.open.delete(index);
    const release = () => {
      this.released++;
    };
    const servedBy = reason === '' ? `m${index}@1` : `m${index}-lite`;
    receiver.onAnswer(step, { buf: bytes, start: 0, end: bytes.length, servedBy, reason, release });
  }

  fail(index: number, replaceable = true): void {
    const { step, receiver } = this.open.get(index)!;
    this.open.delete(index);
    receiver.onFailure(step, { grpcStatus: 14, message: 'gone', reason: 'connect_failed', replaceable });
  }
}

function started(plan: PipelinePlan, deadlineMs = 0, wanted = plan.allOutputs) {
  const clock = new VirtualClock();
  const cells = new Float64Array((plan.steps.length + 1) * STEP_SLOTS_EACH);
  const calls = new OpenCalls();
  const ends: { outputs?: bigint[]; failure?: RunFailure; degraded: string; steps: string }[] = [];
  const receiver = {
    onOutputs: (outputs: readonly PassedTensor[], run: PipelineRun) =>
      ends.push({ outputs: outputs.map(numberOf), degraded: run.degraded.join(','), steps: run.steps }),
    onRunFailure: (failure: RunFailure, run: PipelineRun) =>
      ends.push({ failure, degraded: run.degraded.join(','), steps: run.steps }),
  };
  const due = deadlineMs === 0 ? 0 : clock.nowMs() + deadlineMs;
  const run = new PipelineRun(plan, calls, receiver, clock, cells, [scalarOf(5n)], wanted, due, 40);
  run.start();
  return { run, calls, ends, clock, cells, nowMs: clock.nowMs() };
}

const X = { step: -1, name: 'x' };
const y = (step: number) => ({ step, name: 'y' });

t.test('any pipeline answers what its steps make of each other, whatever the order they answer in', async (test) => {
  /** Each step adds its number and all its inputs, and gives the sum and its negative. */
  const graph = fc.integer({ min: 1, max: 9 }).chain((n) =>
    fc.tuple(
      ...Array.from({ length: n }, (_, step) =>
        fc.array(fc.record({ step: fc.integer({ min: -1, max: step - 1 }), negative: fc.boolean() }), {
          minLength: 1,
          maxLength: 4,
        }),
      ),
    ),
  );
  fc.assert(
    fc.property(graph, fc.infiniteStream(fc.nat()), (wiring, order) => {
      const steps = wiring.map((inputs) => ({
        inputs: inputs.map(({ step, negative }) => ({ step, name: step < 0 ? 'x' : negative ? 'z' : 'y' })),
        outputs: ['y', 'z'],
      }));
      const expected: bigint[] = [];
      for (const [i, inputs] of wiring.entries()) {
        const sum = inputs.reduce((total, { step, negative }) => {
          const value = step < 0 ? 5n : expected[2 * step]!;
          return total + (negative && step >= 0 ? -value : value);
        }, BigInt(i));
        expected.push(sum, -sum);
      }
      const { calls, ends, cells } = started(planOf(steps));
      while (calls.open.size > 0) {
        const next = [...calls.open.keys()][order.next().value! % calls.open.size]!;
        const sum = Object.values(calls.inputs(next)).reduce((s, { int64_val: [v] }) => s + BigInt(v!), BigInt(next));
        calls.answer(next, { y: sum, z: -sum });
      }
      test.equal(ends.length, 1);
      test.same(ends[0]!.outputs, expected);
      test.equal(calls.begun.length, wiring.length, 'each step runs once');
      test.equal(calls.released, wiring.length);
      test.equal(cells[PipelineSlot.HELD_BYTES], 0);
    }),
    { numRuns: 100 },
  );
});

t.test('steps that do not wait for each other run side by side', async (test) => {
  const { calls, ends } = started(
    planOf([
      { inputs: [X], outputs: ['y'] },
      { inputs: [X], outputs: ['y'] },
      { inputs: [y(0), y(1)], outputs: ['y'] },
    ]),
  );
  test.same(calls.begun, [0, 1]);
  calls.answer(1, { y: 2n });
  test.same(calls.begun, [0, 1]);
  calls.answer(0, { y: 1n });
  test.same(calls.begun, [0, 1, 2]);
  test.match(calls.inputs(2), { i0: { int64_val: ['1'] }, i1: { int64_val: ['2'] } });
  calls.answer(2, { y: 3n }, 'breaker_open');
  test.match(ends, [{ outputs: [1n, 2n, 3n], degraded: 's2', steps: 's0=m0@1, s1=m1@1, s2=m2-lite;breaker_open' }]);
});

t.test('steps that no asked output needs do not run', async (test) => {
  const plan = planOf([
    { inputs: [X], outputs: ['y'] },
    { inputs: [X], outputs: ['y'] },
    { inputs: [y(1)], outputs: ['y'] },
  ]);
  const { calls, ends } = started(plan, 0, [1]);
  test.same(calls.begun, [1]);
  calls.answer(1, { y: 7n });
  test.same(ends[0]!.outputs, [7n]);
  test.same(calls.begun, [1]);
});

t.test('each step has its share of what is left of the deadline', async (test) => {
  const plan = planOf([
    { inputs: [X], outputs: ['y'], budget: 0.25 },
    { inputs: [y(0)], outputs: ['y'], budget: 0.5 },
    { inputs: [y(1)], outputs: ['y'] },
  ]);
  const { calls, clock, nowMs } = started(plan, 1000);
  test.equal(calls.open.get(0)!.deadlineMs, nowMs + 250);
  clock.advance(200);
  calls.answer(0, { y: 1n });
  test.equal(calls.open.get(1)!.deadlineMs, nowMs + 600, 'half of the 800 ms left');
  clock.advance(700);
  calls.answer(1, { y: 1n });
  test.equal(calls.open.get(2)!.deadlineMs, nowMs + 1000, 'all that is left');
  const unlimited = started(plan);
  test.equal(unlimited.calls.open.get(0)!.deadlineMs, 0);
});

t.test("default outputs stand in for a step whose failure is the server's", async (test) => {
  const defaults = [{ name: 'y', dtype: 9, shape: [], values: ['-1'] }];
  const plan = planOf([
    { inputs: [X], outputs: ['y'], defaults },
    { inputs: [y(0)], outputs: ['y'] },
  ]);
  const { calls, ends, cells } = started(plan);
  calls.fail(0);
  test.match(calls.inputs(1), { i0: { tensor_content: Buffer.alloc(8, 0xff) } });
  calls.answer(1, { y: 3n });
  test.match(ends, [{ outputs: [-1n, 3n], degraded: 's0', steps: 's0=default;connect_failed, s1=m1@1' }]);
  test.equal(cells[STEP_SLOTS_EACH + StepSlot.RUNS + StepEnd.DEFAULT], 1);
  const refused = started(plan);
  refused.calls.fail(0, false);
  test.match(refused.ends, [{ failure: { step: 's0', grpcStatus: 14, message: 'gone', reason: 'connect_failed' } }]);
});

t.test('a step that fails ends the run and cancels what is under way, once', async (test) => {
  const plan = planOf([
    { inputs: [X], outputs: ['y'] },
    { inputs: [X], outputs: ['y'] },
  ]);
  const { run, calls, ends, cells } = started(plan);
  calls.fail(1);
  test.same(calls.cancelled, [0]);
  run.cancel();
  test.equal(ends.length, 1);
  test.equal(cells[STEP_SLOTS_EACH + StepSlot.RUNS + StepEnd.CANCELLED], 1);
  test.equal(cells[2 * STEP_SLOTS_EACH + StepSlot.RUNS + StepEnd.FAILED], 1);
  test.equal(cells[PipelineSlot.HELD_BYTES], 0);
});

t.test('an answer without an output that others use, or of another type, is no answer', async (test) => {
  const plan = planOf([{ inputs: [X], outputs: ['y'] }]);
  const missing = started(plan);
  missing.calls.answer(0, { z: 1n });
  test.match(missing.ends, [{ failure: { step: 's0', grpcStatus: 13, message: 'the answer has no output y' } }]);
  const outputs = [{ name: 'y', dtype: 1, shape: [], from: y(0) }];
  const wrong = started(planOf([{ inputs: [X], outputs: ['y'] }], { outputs }));
  wrong.calls.answer(0, { y: 1n });
  test.match(wrong.ends, [{ failure: { step: 's0', message: 'output y is not of the type declared' } }]);
  test.equal(wrong.calls.released, 1);
});

t.test('tensors beyond the bound end the run, default outputs too', async (test) => {
  const plan = planOf([{ inputs: [X], outputs: ['y'] }], { maxBytes: 50 });
  const { calls, ends, cells } = started(plan);
  calls.answer(0, { y: 1n });
  test.match(ends, [{ failure: { step: '', grpcStatus: 8, reason: 'pipeline_too_large' } }]);
  test.equal(cells[PipelineSlot.REFUSALS + 1], 1);
  const defaults = [{ name: 'y', dtype: 9, shape: [1000], values: ['1'] }];
  const large = started(planOf([{ inputs: [X], outputs: ['y'], defaults }], { maxBytes: 50 }));
  large.calls.fail(0);
  test.match(large.ends, [{ failure: { reason: 'pipeline_too_large' } }]);
});

t.test('nothing is heard after a cancellation', async (test) => {
  const { run, calls, ends, cells } = started(planOf([{ inputs: [X], outputs: ['y'] }]));
  const open = calls.open.get(0)!;
  run.cancel();
  test.notOk(open.receiver.takes(1));
  open.receiver.onFailure(open.step, { grpcStatus: 14, message: '', reason: '', replaceable: true });
  test.same(ends, []);
  test.equal(cells[PipelineSlot.REQUESTS + PipelineEnd.OK], 0);
});
