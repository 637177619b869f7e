/** Which names of the environment are ours to check, and which only look like it. */

/** First letters of every environment name that is ours to check. */
export const ENVIRONMENT_PREFIX = 'UNDERSTUDY_';

/** Names that belong to our other programs, which check them themselves; a pod often gives all containers one set. */
export const FOREIGN_PREFIXES: readonly { readonly prefix: string; readonly owner: string }[] = [
  { prefix: 'UNDERSTUDY_WORKER_', owner: 'inference worker' },
  { prefix: 'UNDERSTUDY_INTERCEPT_', owner: 'understudy intercept' },
  { prefix: 'UNDERSTUDY_INJECTOR_', owner: 'injector' },
  { prefix: 'UNDERSTUDY_DEMO_', owner: 'demo' },
  { prefix: 'UNDERSTUDY_BENCH_', owner: 'benchmarks' },
  { prefix: 'UNDERSTUDY_TEST_', owner: 'tests' },
];

/**
 * Names the kubelet invents for a Service called `understudy...`: `UNDERSTUDY_SERVICE_HOST`, `UNDERSTUDY_PORT`,
 * `UNDERSTUDY_GW_PORT_8500_TCP_ADDR`. They are nobody's settings and must not stop a start.
 */
export const KUBERNETES_SERVICE_NAME =
  /^UNDERSTUDY_(?:[A-Z0-9_]+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)$/;
