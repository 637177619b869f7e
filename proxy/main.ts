/** The proxy's entry: environment in, process out. Everything it is made of is put together in `app.ts`. */
import { Logger } from '../base/logger.ts';
import { App } from './app.ts';
import { ConfigError, formatProblem } from './config/problem.ts';

const log = new Logger('info');

/** Says every mistake of the configuration at once and ends. */
function refuse(error: ConfigError): never {
  for (const problem of error.problems) process.stderr.write(`${formatProblem(problem)}\n`);
  process.exit(1);
}

async function run(): Promise<void> {
  let app: App;
  try {
    app = new App(process.env, log);
  } catch (error) {
    if (error instanceof ConfigError) refuse(error);
    throw error;
  }
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

await run();
