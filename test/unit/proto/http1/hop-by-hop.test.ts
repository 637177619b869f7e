// What belongs to one connection only does not travel on.

import t from 'tap';
import { withoutHopByHop } from '../../../../proto/http1/hop-by-hop.ts';
import { HeaderList } from '../../../../proto/http2/header-list.ts';
import { pairs } from './support.ts';

t.test('connection fields and what connection names are removed; the rest keeps its order', async (t) => {
  const list = HeaderList.of(
    [':method', 'GET'],
    [':path', '/'],
    ['a', '1'],
    ['connection', 'close, X-Private'],
    ['x-private', 'secret'],
    ['keep-alive', 'timeout=5'],
    ['proxy-connection', 'x'],
    ['transfer-encoding', 'chunked'],
    ['upgrade', 'h2c'],
    ['te', 'gzip'],
    ['connection', 'http2-settings'],
    ['http2-settings', 'AAMAAABk'],
    ['b', '2'],
  );
  t.same(pairs(withoutHopByHop(list)), [
    [':method', 'GET'],
    [':path', '/'],
    ['a', '1'],
    ['b', '2'],
  ]);
  t.equal(withoutHopByHop(list), withoutHopByHop(list));
});

t.test('a list without them is handed back as it is', async (t) => {
  const list = HeaderList.of([':status', '200'], ['te', 'trailers'], ['x', 'y']);
  t.equal(withoutHopByHop(list), list);
});

t.test('te keeps exactly its trailers', async (t) => {
  t.same(pairs(withoutHopByHop(HeaderList.of(['te', 'deflate, Trailers'], ['x', 'y']))), [
    ['te', 'trailers'],
    ['x', 'y'],
  ]);
});

t.test('framing and routing cannot be removed by naming them', async (t) => {
  const list = HeaderList.of(
    [':path', '/'],
    ['connection', 'content-length, :path, host, te'],
    ['content-length', '5'],
    ['te', 'trailers'],
  );
  t.same(pairs(withoutHopByHop(list)), [
    [':path', '/'],
    ['content-length', '5'],
    ['te', 'trailers'],
  ]);
});
