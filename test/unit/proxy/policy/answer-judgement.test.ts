import t from 'tap';
import { GrpcStatus } from '../../../../base/grpc-status.ts';
import { ProxyErrors } from '../../../../base/proxy-error.ts';
import { breakerOutcome, judgeStatus } from '../../../../proxy/policy/answer-judgement.ts';
import { Outcome } from '../../../../proxy/policy/circuit-breaker.ts';
import { RequestOutcome } from '../../../../proxy/stats/slots.ts';

const outcomeOf = (status: number, reason = '') => breakerOutcome(judgeStatus(status, reason));

t.test('statuses that say something about the upstream count, those about the caller prove it works', async (test) => {
  for (const status of [GrpcStatus.UNAVAILABLE, GrpcStatus.INTERNAL, GrpcStatus.UNKNOWN, GrpcStatus.DATA_LOSS]) {
    test.equal(outcomeOf(status), Outcome.FAILURE, String(status));
  }
  for (const status of [GrpcStatus.INVALID_ARGUMENT, GrpcStatus.NOT_FOUND, GrpcStatus.RESOURCE_EXHAUSTED]) {
    test.equal(outcomeOf(status), Outcome.SUCCESS, String(status));
  }
  test.equal(outcomeOf(GrpcStatus.RESOURCE_EXHAUSTED, 'device_out_of_memory'), Outcome.FAILURE);
});

/*
 * Scenario: a caller's sidecar calls a server's sidecar, which sheds what is too much.
 * Mechanism: the answer says UNAVAILABLE, as a broken server does, but its reason is one of our own.
 * Consequence: counted as failures, a moment of load would open the caller's breaker and keep all requests away.
 */
t.test('what a proxy or worker of ours shed says nothing about the upstream, whatever its status', async (test) => {
  test.equal(judgeStatus(GrpcStatus.UNAVAILABLE, 'batch_queue_full'), RequestOutcome.OVERLOADED);
  for (const { code, origin, grpcStatus } of Object.values(ProxyErrors)) {
    if (origin === 'proxy') test.equal(outcomeOf(grpcStatus, code), Outcome.IGNORED, code);
  }
  for (const { code, grpcStatus } of [
    ProxyErrors.connectFailed,
    ProxyErrors.upstreamReset,
    ProxyErrors.noHealthyEndpoint,
  ]) {
    test.equal(outcomeOf(grpcStatus, code), Outcome.FAILURE, `${code}: nobody answered behind it`);
  }
});
