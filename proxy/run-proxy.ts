/** The proxy as a process: environment in, exit code out. What it is made of is put together in `app.ts`. */
import { Logger } from '../base/logger.ts';
import { ConfigError, formatProblem } from './config/problem.ts';
import { App } from './control/app.ts';

/** Starts the proxy; resolves once it listens. Ends the process when it cannot, and on SIGTERM and SIGINT once drained. */
export async function runProxy(): Promise<void> {
  const log = new Logger('info');
  const app = createApp(log);
  const stop = () => {
    app.stop().then(
      () => process.exit(0),
      (error) => {
        log.error('stop_failed', { error });
        process.exit(1);
      },
    );
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  try {
    await app.start();
  } catch (error) {
    log.error('start_failed', { error });
    process.exit(1);
  }
}

function createApp(log: Logger): App {
  try {
    return new App(process.env, log);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const problem of error.problems) process.stderr.write(`${formatProblem(problem)}\n`);
    process.exit(1);
  }
}
