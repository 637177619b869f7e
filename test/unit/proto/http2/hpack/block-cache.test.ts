import t from 'tap';
import { HeaderList } from '../../../../../proto/http2/header-list.ts';
import { ANY_GENERATION, BlockCache, hashBlock } from '../../../../../proto/http2/hpack/block-cache.ts';

const block = Buffer.from('one block of octets');
const other = Buffer.from('another block, same place');
const hash = hashBlock(block, 0, block.length);
const list = HeaderList.of(['a', 'b']);
const otherList = HeaderList.of(['c', 'd']);

t.test('an entry answers for its octets and its table state only', async (t) => {
  const cache = new BlockCache(4);
  cache.record(block, 0, block.length, hash, 7, list);
  t.equal(cache.find(block, 0, block.length, hash, 7), list);
  t.equal(cache.find(block, 0, block.length, hash, 8), null);
  t.equal(cache.find(block, 0, block.length - 1, hash, 7), null, 'same hash, other length');
  const altered = Buffer.from(block);
  altered[3]! ^= 1;
  t.equal(cache.find(altered, 0, altered.length, hash, 7), null, 'same hash, other octets');
});

t.test('an entry for any table state outlives its changes', async (t) => {
  const cache = new BlockCache(4);
  cache.record(block, 0, block.length, hash, ANY_GENERATION, list);
  t.equal(cache.find(block, 0, block.length, hash, 1), list);
  t.equal(cache.find(block, 0, block.length, hash, 2), list);
});

t.test('a living entry yields to a challenger that comes twice', async (t) => {
  const cache = new BlockCache(1);
  const otherHash = hashBlock(other, 0, other.length);
  cache.record(block, 0, block.length, hash, 7, list);
  cache.record(other, 0, other.length, otherHash, 7, otherList);
  t.equal(cache.find(block, 0, block.length, hash, 7), list, 'once is not enough');
  cache.record(other, 0, other.length, otherHash, 7, otherList);
  t.equal(cache.find(block, 0, block.length, hash, 7), null);
  t.equal(cache.find(other, 0, other.length, otherHash, 7), otherList);
});

t.test('a stale entry yields at once', async (t) => {
  const cache = new BlockCache(1);
  cache.record(block, 0, block.length, hash, 7, list);
  cache.record(other, 0, other.length, hashBlock(other, 0, other.length), 8, otherList);
  t.equal(cache.find(other, 0, other.length, hashBlock(other, 0, other.length), 8), otherList);
});

t.test('the hash depends on every octet and on nothing outside the range', async (t) => {
  for (let i = 0; i < block.length; i++) {
    const altered = Buffer.from(block);
    altered[i]! ^= 0x80;
    t.not(hashBlock(altered, 0, altered.length), hash, `octet ${i}`);
  }
  const shifted = Buffer.concat([Buffer.from('xx'), block, Buffer.from('yy')]);
  t.equal(hashBlock(shifted, 2, 2 + block.length), hash);
});
