/**
 * An application that makes one more call on its way down, on a connection that it opens for it, as one that flushes its
 * work does. Run as a program; prints one line of JSON per call, {"call":"first"|"last","y":[...]} or {"call":...,"error":...}.
 *
 *   node departing-application.ts <host:port> <model> <time from SIGTERM to the last call, ms>
 */
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { floats, modelSpec, TfsClient } from './tfs-client.ts';

const [target = '', model = '', lingerMs = '0'] = process.argv.slice(2);
const told = once(process, 'SIGTERM');
// Nothing else keeps it alive between its calls.
const alive = setInterval(() => {}, 60_000);

await call('first');
await told;
await delay(Number(lingerMs));
await call('last');
clearInterval(alive);

async function call(name: string): Promise<void> {
  const client = new TfsClient(target);
  try {
    const reply = await client.predict({ model_spec: modelSpec(model), inputs: { x: floats([1, 2], [1, 2]) } });
    console.log(JSON.stringify({ call: name, y: reply.outputs.y?.float_val ?? reply.outputs }));
  } catch (error) {
    console.log(JSON.stringify({ call: name, error: (error as Error).message }));
  } finally {
    client.close();
  }
}
