/** Trace context as it is read, and the exporter against collectors that answer, fail, stall and are away. */
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { Logger } from '../../../base/logger.ts';
import { TraceExporter, tracesOf } from '../../../proxy/control/trace-exporter.ts';
import { isTraceparent, type Span } from '../../../proxy/tracing.ts';
import { until } from '../../support/patience.ts';

const GOOD = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';

t.test('a traceparent is read when it is one, and never by accident', async (test) => {
  test.ok(isTraceparent(GOOD));
  test.ok(isTraceparent(`01${GOOD.slice(2)}-more`), 'a later version may say more');
  for (const bad of [
    '',
    GOOD.toUpperCase(),
    GOOD.slice(1),
    `${GOOD}0`,
    `${GOOD}-more`,
    `ff${GOOD.slice(2)}`,
    GOOD.replace('b7ad6b7169203331', '0000000000000000'),
    GOOD.replace('0af7651916cd43dd8448eb211c80319c', '0'.repeat(32)),
    GOOD.replaceAll('-', '_'),
  ]) {
    test.notOk(isTraceparent(bad), bad);
  }
  const pattern = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;
  const mutated = fc.tuple(fc.nat(54), fc.string({ minLength: 1, maxLength: 1 })).map(([at, text]) => {
    return `${GOOD.slice(0, at)}${text}${GOOD.slice(at + 1)}`;
  });
  fc.assert(fc.property(mutated, (text) => !text.startsWith('00-') || isTraceparent(text) === pattern.test(text)));
});

const span = (name: string): Span => ({
  traceId: 'a'.repeat(32),
  spanId: 'b'.repeat(16),
  parentSpanId: '',
  traceState: '',
  name,
  startMs: 1_700_000_000_000.5,
  endMs: 1_700_000_000_001.25,
  failed: true,
  attributes: { text: 'x', whole: 3, part: 0.5 },
});

t.test('spans are written as OTLP says', async (test) => {
  const [{ scopeSpans }] = (tracesOf([span('s')], 'svc') as { resourceSpans: { scopeSpans: { spans: unknown[] }[] }[] })
    .resourceSpans as [{ scopeSpans: { spans: unknown[] }[] }];
  test.match(scopeSpans[0]!.spans[0], {
    name: 's',
    kind: 2,
    startTimeUnixNano: '1700000000000500000',
    endTimeUnixNano: '1700000000001250000',
    status: { code: 2 },
    attributes: [
      { key: 'text', value: { stringValue: 'x' } },
      { key: 'whole', value: { intValue: '3' } },
      { key: 'part', value: { doubleValue: 0.5 } },
    ],
  });
});

class Collector {
  readonly names: string[] = [];
  script: (response: ServerResponse) => void = (response) => response.end('{}');
  requests = 0;
  readonly server: Server;

  constructor(test: Test) {
    this.server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        this.requests++;
        const body = JSON.parse(Buffer.concat(chunks).toString());
        for (const one of body.resourceSpans[0].scopeSpans[0].spans) this.names.push(one.name);
        this.script(response);
      });
    });
    test.teardown(() => {
      this.server.closeAllConnections();
      this.server.close();
    });
  }

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/v1/traces`;
  }
}

const log = new Logger('silent');
const QUICK = { serviceName: 's', log, flushMs: 1, firstBackoffMs: 5, timeoutMs: 200 };

t.test('a collector that says later is asked again, one that refuses is not', async (test) => {
  const collector = new Collector(test);
  const exporter = new TraceExporter({ ...QUICK, endpoint: await collector.listen() });
  const statuses = [503, 429, 200];
  collector.script = (response) => {
    response.statusCode = statuses.shift() ?? 200;
    response.end('{}');
  };
  exporter.add({ spans: [span('again')], dropped: 0 });
  await until(() => exporter.exported === 1);
  test.same(collector.names, ['again', 'again', 'again']);
  statuses.push(400);
  exporter.add({ spans: [span('refused')], dropped: 0 });
  await until(() => exporter.rejected === 1);
  test.same([exporter.exported, exporter.rejected, exporter.dropped], [1, 1, 0]);
  await exporter.close(100);
  test.equal(collector.requests, 4);
});

t.test('a collector that is away or silent costs spans beyond the bound, and nobody any time', async (test) => {
  const silent = new Collector(test);
  silent.script = () => {};
  for (const endpoint of ['http://127.0.0.1:1/v1/traces', await silent.listen()]) {
    const exporter = new TraceExporter({ ...QUICK, endpoint, maxQueued: 10 });
    const startedMs = performance.now();
    for (let i = 0; i < 100; i++) exporter.add({ spans: [span(`s${i}`)], dropped: 1 });
    test.ok(performance.now() - startedMs < 1000);
    test.equal(exporter.dropped, 100 + 90);
    await exporter.close(20);
    await until(() => exporter.dropped === 200);
    test.equal(exporter.dropped, 200, 'none is kept for ever');
    test.equal(exporter.exported, 0);
  }
});

t.test('what is queued at the end is sent', async (test) => {
  const collector = new Collector(test);
  const exporter = new TraceExporter({ ...QUICK, flushMs: 60_000, endpoint: await collector.listen() });
  exporter.add({ spans: Array.from({ length: 700 }, (_, i) => span(`s${i}`)), dropped: 0 });
  await exporter.close(5000);
  test.equal(exporter.exported, 700);
  test.equal(collector.requests, 2);
});
