/** `understudy config ...`, `intercept ...` and `pairs ...`: the proxy's commands that are not the proxy. */
// Each is loaded when it is asked for: the rules of a pod are installed while the pod waits.

const [command, ...args] = process.argv.slice(2);
const io = {
  stdout: (text: string) => void process.stdout.write(text),
  stderr: (text: string) => void process.stderr.write(text),
};

if (command === 'config') {
  const { runConfigCommand } = await import('./config-command.ts');
  process.exitCode = runConfigCommand(args, { ...io, env: process.env });
} else if (command === 'intercept') {
  const { runInterceptCommand } = await import('./intercept-command.ts');
  process.exitCode = await runInterceptCommand(args, process.env, io);
} else if (command === 'pairs') {
  const write = (text: string) => new Promise<void>((resolve) => process.stdout.write(text, () => resolve()));
  const { runPairsCommand } = await import('./pairs-command.ts');
  process.exitCode = await runPairsCommand(args, { write, stderr: io.stderr, env: process.env });
} else {
  io.stderr('usage: understudy config|intercept|pairs ...\n');
  process.exitCode = 2;
}
