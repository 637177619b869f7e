/**
 * An application that keeps calling a model server by the address it was given, knowing nothing of a sidecar. Run as a
 * program; prints one line of JSON per call, {"by":"NAME"} or {"error":"..."}, until its standard input ends, then ends by
 * itself once the last answer is there.
 *
 *   node calling-application.ts fresh|steady <host:port> <model> [<pause between calls, ms>]
 *
 * `fresh` opens a connection per call, `steady` keeps one as grpc-js keeps it. A server that names itself in the output
 * `served_by` is called by that name; one that returns the model's own output is called `worker`.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { floats, type Message, modelSpec, TfsClient } from './tfs-client.ts';

const [mode, target = '', model = '', pause = '20'] = process.argv.slice(2);
let going = true;
process.stdin.on('end', () => {
  going = false;
});
process.stdin.resume();

let client = new TfsClient(target);
while (going) {
  try {
    const reply = await client.predict({ model_spec: modelSpec(model), inputs: { x: floats([1, 2], [1, 2]) } });
    console.log(JSON.stringify({ by: nameOf(reply) }));
  } catch (error) {
    console.log(JSON.stringify({ error: (error as Error).message }));
  }
  if (mode === 'fresh') {
    client.close();
    client = new TfsClient(target);
  }
  await delay(Number(pause));
}
client.close();

/** Who answered; an answer of the model that is not twice its input is nobody's. */
function nameOf({ outputs }: Message): string {
  if (outputs.served_by !== undefined) return outputs.served_by.string_val[0].toString();
  return String(outputs.y?.float_val) === '2,4' ? 'worker' : `a wrong answer ${JSON.stringify(outputs)}`;
}
