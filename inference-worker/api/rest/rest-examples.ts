/** REST classify and regress: examples in JSON to the example service, and its results under `results`. */
import { ByteSink } from '../../../proto/tensor/byte-sink.ts';
import { readJsonExamples } from '../../../proto/tensor/json-examples.ts';
import { putFloat } from '../../../proto/tensor/json-number-text.ts';
import { putJsonString } from '../../../proto/tensor/json-tensor-writer.ts';
import { EntryPoint } from '../../metrics/entry-points.ts';
import type { ExampleAnswer, ExampleOptions, ExampleService } from '../examples/example-service.ts';
import { timingFields } from '../task-timing.ts';
import { type HttpCall, JSON_TYPE } from './http-call.ts';
import type { RestExamples } from './rest-api.ts';
import { asWorkerError, internalError, replyFailure } from './rest-failure.ts';
import type { RestRoute } from './rest-route.ts';

export class RestExampleApi implements RestExamples {
  private readonly service: ExampleService;
  private readonly sink = new ByteSink();

  constructor(service: ExampleService) {
    this.service = service;
  }

  handle(call: HttpCall, { action, model, version, label }: RestRoute): void {
    const { body, start, end } = call.request;
    const { signatureName, examples } = readJsonExamples(body, start, end);
    const spec = { name: model, version, label, signatureName };
    const infer = action === 'classify' ? 'classify' : 'regress';
    const entry = infer === 'classify' ? EntryPoint.classifyRest : EntryPoint.regressRest;
    this.service[infer](spec, examples, optionsOf(call, entry)).then(
      (answer) => this.reply(call, answer),
      (error) => replyFailure(call, asWorkerError(error) ?? internalError(error)),
    );
  }

  private reply(call: HttpCall, answer: ExampleAnswer): void {
    const { sink } = this;
    const { result } = answer;
    sink.clear();
    sink.putAscii('{\n    "results": [');
    if (result.kind === 'regressions') {
      result.regressions.forEach((value, i) => {
        if (i > 0) sink.putAscii(', ');
        putFloat(sink, value);
      });
      sink.putAscii(']\n}');
    } else {
      result.classifications.forEach((classes, row) => {
        sink.putAscii(row > 0 ? ', [' : '[');
        classes.forEach(({ label, score }, i) => {
          sink.putAscii(i > 0 ? ', [' : '[');
          putJsonString(sink, label);
          sink.putAscii(', ');
          putFloat(sink, score);
          sink.putByte(0x5d);
        });
        sink.putByte(0x5d);
      });
      sink.putAscii('\n    ]\n}');
    }
    call.reply(200, JSON_TYPE, sink.view(), timingFields(call.request.headers, answer));
  }
}

function optionsOf(call: HttpCall, entry: number): ExampleOptions {
  return {
    entry,
    deadlineMs: call.deadlineMs,
    priority: call.priority,
    onAccepted: (accepted) => {
      call.cancellable = {
        cancel: () => {
          accepted.cancelled = true;
        },
      };
    },
  };
}
