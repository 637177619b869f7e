import t from 'tap';
import { formatGrpcTimeout, parseGrpcTimeoutMs } from '../../../../proto/grpc/timeout.ts';

t.test('every unit is understood', async (t) => {
  t.equal(parseGrpcTimeoutMs('1H'), 3600000);
  t.equal(parseGrpcTimeoutMs('2M'), 120000);
  t.equal(parseGrpcTimeoutMs('3S'), 3000);
  t.equal(parseGrpcTimeoutMs('4m'), 4);
  t.equal(parseGrpcTimeoutMs('5u'), 0.005);
  t.equal(parseGrpcTimeoutMs('6n'), 0.000006);
  t.equal(parseGrpcTimeoutMs('99999999H'), 99999999 * 3600000);
  t.equal(parseGrpcTimeoutMs('0m'), 0);
});

t.test('anything else is not a number', async (t) => {
  for (const value of ['', 'm', '1', '1s', '123456789m', '-1m', '1.5S', ' 1m', '1m ', '1µ']) {
    t.ok(Number.isNaN(parseGrpcTimeoutMs(value)), JSON.stringify(value));
  }
});

t.test('what is written is exact or a little less, and never over eight digits', async (t) => {
  t.equal(formatGrpcTimeout(250), '250m');
  t.equal(formatGrpcTimeout(0.25), '250u');
  t.equal(formatGrpcTimeout(12.3456), '12345u');
  t.equal(formatGrpcTimeout(0.0005), '500n');
  t.equal(formatGrpcTimeout(123456.5), '123456m');
  t.equal(formatGrpcTimeout(99999999), '99999999m');
  t.equal(formatGrpcTimeout(100000000), '100000S');
  t.equal(formatGrpcTimeout(0), '1n');
  t.equal(formatGrpcTimeout(-5), '1n');
  t.equal(formatGrpcTimeout(0.0000001), '1n');
  for (const ms of [0.001, 0.5, 1.5, 99999.9999, 1e6 + 0.5, 1e9, 1e11, 1e13, Number.MAX_SAFE_INTEGER]) {
    const value = formatGrpcTimeout(ms);
    const back = parseGrpcTimeoutMs(value);
    t.ok(value.length <= 9 && back <= ms, `${ms} became ${value}`);
    if (ms <= 1e12) t.ok(back >= ms * 0.999, `${ms} became ${value}`);
  }
});
