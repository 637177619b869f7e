/** Whatever JSON comes, the injector answers with a review or says that it was none; and patches always apply. */
import fc from 'fast-check';
import t from 'tap';
import { BadReview, PodInjector } from '../../../../deploy/injector/admission.ts';
import { readSidecarParts } from '../../../../deploy/injector/sidecar-parts.ts';
import { runs } from '../../../support/fuzz-runs.ts';
import { applyPatch } from './json-patch.ts';
import { DEFAULTS, operationsOf, pod, review } from './reviews.ts';

const injector = new PodInjector(DEFAULTS, readSidecarParts());
const RUNS = { numRuns: runs(1000), interruptAfterTimeLimit: 4000 };

/** A pod with anything in the places that the injector reads. */
const strangePod = fc.record({
  metadata: fc.option(
    fc.record(
      {
        labels: fc.oneof(fc.constant(null), fc.dictionary(fc.string(), fc.string()), fc.jsonValue()),
        annotations: fc.oneof(
          fc.dictionary(
            fc.constantFrom('understudy.dev/shape', 'understudy.dev/models', 'understudy.dev/after', '__proto__'),
            fc.string(),
          ),
          fc.dictionary(fc.string(), fc.string()),
          fc.jsonValue(),
        ),
      },
      { requiredKeys: [] },
    ),
    { nil: undefined },
  ),
  spec: fc.oneof(
    fc.jsonValue(),
    fc.record(
      {
        containers: fc.array(fc.record({ name: fc.string(), securityContext: fc.jsonValue() }), {
          minLength: 1,
          maxLength: 3,
        }),
        initContainers: fc.oneof(
          fc.constant(null),
          fc.array(fc.record({ name: fc.string() }), { maxLength: 3 }),
          fc.jsonValue(),
        ),
        volumes: fc.oneof(
          fc.constant(null),
          fc.array(fc.record({ name: fc.string() }), { maxLength: 3 }),
          fc.jsonValue(),
        ),
        os: fc.jsonValue(),
        securityContext: fc.jsonValue(),
        terminationGracePeriodSeconds: fc.jsonValue(),
      },
      { requiredKeys: ['containers'] },
    ),
  ),
});

t.test('any pod gets an answer for its uid, and a patch that applies once and for all', async (t) => {
  let injected = 0;
  fc.assert(
    fc.property(strangePod, (strange) => {
      const text = JSON.stringify(review(strange));
      const object = JSON.parse(text).request.object;
      const { response } = injector.review(text).review;
      if (!response.allowed) return /^understudy: /.test(response.status?.message ?? '');
      injected++;
      const patched = applyPatch(object, operationsOf(response));
      return injector.review(JSON.stringify(review(patched))).review.response.patch === undefined;
    }),
    RUNS,
  );
  t.ok(injected > 5, `${injected} pods were injected`);
});

t.test('any text is a review or is refused as none', async () => {
  const texts = fc.oneof(
    fc.string(),
    fc.json(),
    fc.jsonValue().map((request) => JSON.stringify({ ...review(pod()), request })),
  );
  fc.assert(
    fc.property(texts, (text) => {
      try {
        return typeof injector.review(text).review.response.uid === 'string';
      } catch (error) {
        return error instanceof BadReview;
      }
    }),
    RUNS,
  );
});
