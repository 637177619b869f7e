import t from 'tap';
import { HeaderList } from '../../../../proto/http2/header-list.ts';
import { ResponseTraits } from '../../../../proxy/routing/response-traits.ts';

const NOW = Date.UTC(2026, 0, 2, 3, 4, 5);

function pushback(...fields: [string, string][]): number {
  return ResponseTraits.of(HeaderList.of([':status', '503'], ...fields)).pushbackMs(NOW);
}

t.test('a pushback that is no number of milliseconds forbids another try', async (t) => {
  const forbids = (...fields: [string, string][]) => ResponseTraits.of(HeaderList.of(...fields)).forbidsRetry;
  t.equal(forbids(), false);
  for (const [value, expected] of [
    ['-1', true],
    ['soon', true],
    ['1.5', true],
    ['0', false],
    ['250', false],
  ] as const)
    t.equal(forbids(['grpc-retry-pushback-ms', value]), expected, value);
});

t.test('a wait is read from retry-after in seconds and as a date, and from grpc-retry-pushback-ms', async (t) => {
  t.equal(pushback(), 0);
  t.equal(pushback(['retry-after', '7']), 7_000);
  t.equal(pushback(['retry-after', new Date(NOW + 9_000).toUTCString()]), 9_000);
  t.equal(pushback(['grpc-retry-pushback-ms', '250']), 250);
  t.equal(pushback(['grpc-retry-pushback-ms', '250'], ['retry-after', '1']), 1_000, 'the longer one');
});

t.test('a date is counted from when it is asked about, though the head is remembered', async (t) => {
  const list = HeaderList.of([':status', '503'], ['retry-after', new Date(NOW + 9_000).toUTCString()]);
  t.equal(ResponseTraits.of(list).pushbackMs(NOW), 9_000);
  t.equal(ResponseTraits.of(list).pushbackMs(NOW + 4_000), 5_000);
  t.ok(ResponseTraits.of(list).pushbackMs(NOW + 60_000) <= 0);
});

t.test('what cannot be read asks for nothing', async (t) => {
  for (const text of ['', '-1', '1.5', 'soon', 'Someday', '99999999999']) {
    t.equal(pushback(['retry-after', text]), 0, text);
    t.equal(pushback(['grpc-retry-pushback-ms', text]), 0, text);
  }
});
