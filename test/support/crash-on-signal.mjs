/**
 * Preloaded into a program under test (`--import`): on SIGUSR2 every data thread whose name is in the file named by
 * UNDERSTUDY_TEST_CRASH throws, as a bug would; one whose name stands there as `NAME at start` does so when it starts. Plain JavaScript, because it is loaded before anything else.
 */
import { readFileSync } from 'node:fs';
import { BroadcastChannel, isMainThread, threadName } from 'node:worker_threads';

const channel = new BroadcastChannel('understudy-test-crash');
const names = () => readFileSync(process.env['UNDERSTUDY_TEST_CRASH'], 'utf8').split('\n');
if (isMainThread) process.on('SIGUSR2', () => channel.postMessage('crash'));
else {
  if (names().includes(`${threadName} at start`)) throw new Error(`${threadName} was told to crash at its start`);
  channel.onmessage = () => {
    if (names().includes(threadName)) {
      setImmediate(() => {
        throw new Error(`${threadName} was told to crash`);
      });
    }
  };
}
channel.unref();
