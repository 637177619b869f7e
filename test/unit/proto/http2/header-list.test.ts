import t from 'tap';
import { HEADER_LIST_TOO_LARGE, HeaderList } from '../../../../proto/http2/header-list.ts';

t.test('a list keeps wire order and answers the first value of a name', async (t) => {
  const list = HeaderList.of(['b', '1'], ['a', '2'], ['b', '3']);
  t.strictSame([...list.names], ['b', 'a', 'b']);
  t.equal(list.length, 3);
  t.equal(list.get('b'), '1');
  t.equal(list.get('c'), undefined);
  t.equal(list.sensitive, false);
});

t.test('size counts names, values and 32 octets a field', async (t) => {
  t.equal(HeaderList.of().listSize, 0);
  t.equal(HeaderList.of(['abc', 'de'], ['', '']).listSize, 5 + 64);
});

t.test('never-indexed flags may stop before the last field', async (t) => {
  const list = new HeaderList(['a', 'b', 'c'], ['1', '2', '3'], [false, true]);
  t.strictSame([list.isNeverIndexed(0), list.isNeverIndexed(1), list.isNeverIndexed(2)], [false, true, false]);
  t.equal(list.sensitive, true);
});

t.test('text beyond latin1 is refused where lists are written by hand', async (t) => {
  t.throws(() => HeaderList.of(['a', 'caf\u0101']), TypeError);
  t.throws(() => HeaderList.of(['\u0101', 'b']), TypeError);
  t.equal(HeaderList.of(['a', 'caf\u00e9']).get('a'), 'caf\u00e9');
});

t.test('the list that stands for too large is empty and frozen', async (t) => {
  t.equal(HEADER_LIST_TOO_LARGE.length, 0);
  t.ok(Object.isFrozen(HEADER_LIST_TOO_LARGE));
});
