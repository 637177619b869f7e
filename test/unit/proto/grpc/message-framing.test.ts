import t from 'tap';
import { MessageReader, PREFIX_BYTES, writeMessagePrefix } from '../../../../proto/grpc/message-framing.ts';

function frame(text: string, compressed = false): Buffer {
  const body = Buffer.from(text);
  const framed = Buffer.alloc(PREFIX_BYTES + body.length);
  body.copy(framed, writeMessagePrefix(framed, 0, body.length, compressed));
  return framed;
}

/** Feeds one chunk and collects copies of the messages that it completes. */
function feed(reader: MessageReader, chunk: Buffer): string[] {
  const messages: string[] = [];
  reader.feed(chunk, 0, chunk.length);
  while (reader.next())
    messages.push(`${reader.compressed ? '!' : ''}${reader.buffer.toString('utf8', reader.start, reader.end)}`);
  return messages;
}

t.test('messages in one chunk are handed out where they lie', async (t) => {
  const reader = new MessageReader(1000);
  const chunk = Buffer.concat([frame('one'), frame(''), frame('three', true)]);
  reader.feed(chunk, 0, chunk.length);
  t.equal(reader.next(), true);
  t.equal(reader.buffer, chunk);
  t.equal(reader.start, 5);
  t.equal(reader.atBoundary, false);
  t.equal(reader.next(), true);
  t.equal(reader.end - reader.start, 0);
  t.equal(reader.next(), true);
  t.equal(reader.compressed, true);
  t.equal(reader.next(), false);
  t.equal(reader.atBoundary, true);
  t.equal(reader.messageCount, 3);
});

t.test('messages survive chunks that end at any byte', async (t) => {
  const all = Buffer.concat([frame('first'), frame('x'.repeat(9000), true), frame(''), frame('last')]);
  const expected = ['first', `!${'x'.repeat(9000)}`, '', 'last'];
  for (const split of [1, 2, 4, 5, 6, 9, 10, 11, 14, 15, 16, 5000, all.length - 10, all.length - 9, all.length - 1]) {
    const reader = new MessageReader(9000);
    const messages = [...feed(reader, all.subarray(0, split)), ...feed(reader, all.subarray(split))];
    t.strictSame(messages, expected, `split at ${split}`);
    t.equal(reader.atBoundary, true);
  }
  const reader = new MessageReader(9000);
  const messages: string[] = [];
  for (const byte of all) messages.push(...feed(reader, Buffer.from([byte])));
  t.strictSame(messages, expected, 'byte by byte');
});

t.test('a message cut short is not at a boundary', async (t) => {
  const reader = new MessageReader(1000);
  t.strictSame(feed(reader, frame('whole').subarray(0, 7)), []);
  t.equal(reader.atBoundary, false);
});

t.test('a message over the bound is refused when its prefix is known, in one chunk or over several', async (t) => {
  const huge = Buffer.from([0, 0xff, 0xff, 0xff, 0xff]);
  t.throws(() => feed(new MessageReader(1000), huge), {
    reason: 'too_large',
    message: /4294967295 bytes is larger than the 1000/,
  });
  const reader = new MessageReader(1000);
  feed(reader, huge.subarray(0, 3));
  t.throws(() => feed(reader, huge.subarray(3)), { reason: 'too_large', message: /larger/ });
  t.strictSame(feed(new MessageReader(3), frame('abc')), ['abc'], 'the bound itself is allowed');
  t.throws(() => feed(new MessageReader(3), frame('abcd')), { reason: 'too_large', message: /larger/ });
});

t.test('an unknown flag byte is malformed', async (t) => {
  t.throws(() => feed(new MessageReader(10), Buffer.from([2, 0, 0, 0, 0])), {
    reason: 'malformed',
    message: /flag byte 2/,
  });
});

t.test('room grows with what arrives and not with what the prefix claims', async (t) => {
  const reader = new MessageReader(0xffffffff);
  const before = process.memoryUsage().arrayBuffers;
  feed(reader, Buffer.from([0, 0x7f, 0xff, 0xff, 0xff, 1, 2, 3]));
  t.ok(process.memoryUsage().arrayBuffers - before < 1000000);
});
