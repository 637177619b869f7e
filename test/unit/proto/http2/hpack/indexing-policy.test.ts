import t from 'tap';
import { INDEX, IndexingPolicy, LITERAL, NEVER } from '../../../../../proto/http2/hpack/indexing-policy.ts';

t.test('credentials are never indexed', async (t) => {
  const policy = new IndexingPolicy();
  t.equal(policy.decide('authorization', 'Bearer x', 4096), NEVER);
  t.equal(policy.decide('cookie', 'a=b', 4096), NEVER);
});

t.test('names known to change are literals', async (t) => {
  const policy = new IndexingPolicy();
  for (const name of ['grpc-timeout', 'x-request-id', 'traceparent', 'content-length', 'date']) {
    t.equal(policy.decide(name, '1', 4096), LITERAL, name);
  }
});

t.test('a field larger than half the table is a literal', async (t) => {
  const policy = new IndexingPolicy();
  t.equal(policy.decide('name', 'x'.repeat(2012), 4096), INDEX);
  t.equal(policy.decide('name', 'x'.repeat(2013), 4096), LITERAL);
  t.equal(policy.decide('name', '', 0), LITERAL, 'no table, no entry');
});

t.test('a name that keeps changing stops being indexed', async (t) => {
  const policy = new IndexingPolicy();
  const verdicts = Array.from({ length: 1000 }, (_, i) => policy.decide('x-user', `user-${i}`, 4096));
  t.equal(verdicts.filter((verdict) => verdict === INDEX).length, 8);
  t.ok(verdicts.slice(8).every((verdict) => verdict === LITERAL));
});

t.test('a changing name that settles is indexed again', async (t) => {
  const policy = new IndexingPolicy();
  for (let i = 0; i < 100; i++) policy.decide('x-user', `user-${i}`, 4096);
  t.equal(policy.decide('x-user', 'settled', 4096), LITERAL, 'seen once');
  t.equal(policy.decide('x-user', 'settled', 4096), INDEX, 'seen twice');
});

t.test('values that rotate are indexed once in 64 encodings at most', async (t) => {
  const policy = new IndexingPolicy();
  let insertions = 0;
  for (let i = 0; i < 6400; i++) {
    if (policy.decide(':path', `/v1/models/${i % 50}`, 4096) === INDEX) insertions++;
  }
  t.ok(insertions <= 8 + 100, `${insertions} insertions`);
});

t.test('a flood of names costs bounded memory and does not stop ordinary ones', async (t) => {
  const policy = new IndexingPolicy();
  for (let i = 0; i < 10_000; i++) policy.decide(`x-${i}`, 'v', 4096);
  t.equal(policy.decide('content-type', 'application/grpc', 4096), INDEX);
});
