/**
 * An execution thread for tests. It serves as the real one does until a batch's first float says otherwise:
 * -1 throws a JavaScript error, -2 stops answering, as native code in an endless loop would.
 */
import { NativeSession } from '../../inference-worker/session/native-session.ts';

const run = NativeSession.prototype.run;
const FOREVER = new Int32Array(new SharedArrayBuffer(4));

NativeSession.prototype.run = function (this: NativeSession, feeds, fetches) {
  const [first] = Object.values(feeds)[0].data as Float32Array;
  if (first === -2) Atomics.wait(FOREVER, 0, 0);
  if (first === -1) queueThrow();
  return run.call(this, feeds, fetches);
};

/** Thrown outside of the guarded run, as a fault in our own code would be. */
function queueThrow(): void {
  const { now } = performance;
  let calls = 0;
  performance.now = () => {
    if (++calls === 1) throw new TypeError('fault in the execution thread');
    return now.call(performance);
  };
}

await import('../../inference-worker/session/execution-thread.ts');
