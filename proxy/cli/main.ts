/** `understudy config ...`, `intercept ...` and `pairs ...`: the proxy's commands that are not the proxy. */
import { runConfigCommand } from './config-command.ts';
import { runInterceptCommand } from './intercept-command.ts';

const [command, ...args] = process.argv.slice(2);
const io = {
  stdout: (text: string) => void process.stdout.write(text),
  stderr: (text: string) => void process.stderr.write(text),
};

if (command === 'config') process.exitCode = runConfigCommand(args, { ...io, env: process.env });
else if (command === 'intercept') process.exitCode = await runInterceptCommand(args, process.env, io);
else if (command === 'pairs') {
  const write = (text: string) => new Promise<void>((resolve) => process.stdout.write(text, () => resolve()));
  const { runPairsCommand } = await import('./pairs-command.ts');
  process.exitCode = await runPairsCommand(args, { write, stderr: io.stderr, env: process.env });
} else {
  io.stderr('usage: understudy config|intercept|pairs ...\n');
  process.exitCode = 2;
}
