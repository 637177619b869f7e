/** Names of certificates: read from what Node says of them, and compared exactly. */
import fc from 'fast-check';
import t from 'tap';
import { namesOneOf, parseSubjectNames } from '../../../../proto/io/subject-names.ts';
import { runs } from '../../../support/fuzz-runs.ts';

t.test('names of each kind are read, quoted ones too, and what cannot be read names nobody', async (test) => {
  const text = 'DNS:A.example, URI:spiffe://mesh/ns/a, IP Address:10.0.0.1, DNS:"b, DNS:evil.example", URI:"bad';
  test.same(parseSubjectNames(text), {
    dns: ['a.example', 'b, dns:evil.example'],
    uris: ['spiffe://mesh/ns/a'],
    addresses: ['10.0.0.1'],
  });
  test.same(parseSubjectNames(undefined), { dns: [], uris: [], addresses: [] });
});

t.test('a name hidden inside a quoted one is not found', async (test) => {
  fc.assert(
    fc.property(fc.string(), fc.string(), (before, after) => {
      const hidden = JSON.stringify(`${before}, DNS:evil.example, ${after}`);
      return !namesOneOf(parseSubjectNames(`DNS:${hidden}`), ['evil.example']);
    }),
    { numRuns: runs(200) },
  );
  test.end();
});

t.test('host names are compared without case, URIs with it, and wildcards match nothing', async (test) => {
  const names = parseSubjectNames('DNS:*.example, DNS:a.example, URI:https://x/Y');
  test.ok(namesOneOf(names, ['A.Example']));
  test.notOk(namesOneOf(names, ['b.example']));
  test.ok(namesOneOf(names, ['https://x/Y']));
  test.notOk(namesOneOf(names, ['https://x/y']));
  test.notOk(namesOneOf(names, []));
});

t.test('a SPIFFE identity counts only as the one URI of its certificate', async (test) => {
  test.ok(namesOneOf(parseSubjectNames('DNS:x, URI:spiffe://m/a'), ['spiffe://m/a']));
  test.notOk(namesOneOf(parseSubjectNames('URI:spiffe://m/a, URI:spiffe://m/b'), ['spiffe://m/a']));
  test.notOk(namesOneOf(parseSubjectNames('DNS:"spiffe://m/a"'), ['spiffe://m/a']));
  test.notOk(namesOneOf(parseSubjectNames('URI:spiffe://m/a/b'), ['spiffe://m/a']));
});
