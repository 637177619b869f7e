/**
 * The inference worker's command: reads its flags, then supervises one process per isolation group. This process loads
 * no model and serves no call, so nothing a model does can end it.
 */
import { Logger } from '../base/logger.ts';
import { flagsHelp } from './flags.ts';
import { packageVersion } from './package-version.ts';
import { readSettings } from './settings.ts';
import { Supervisor } from './supervision/supervisor.ts';
import { FLAG_TABLE } from './worker-flags.ts';

async function main(): Promise<number> {
  const result = readSettings(process.argv.slice(2), process.env);
  switch (result.kind) {
    case 'help':
      process.stdout.write(`Serves ONNX models over the TensorFlow Serving API.\n\n${flagsHelp(FLAG_TABLE)}`);
      return 0;
    case 'version':
      process.stdout.write(`understudy inference worker ${packageVersion()}\n`);
      return 0;
    case 'mistakes':
      for (const problem of result.problems) process.stderr.write(`${problem}\n`);
      return 1;
    case 'settings': {
      const log = new Logger(result.settings.serving.logLevel);
      for (const note of result.settings.notes) log.warn('flag_without_effect', { note });
      const supervisor = new Supervisor(result.settings);
      process.on('SIGTERM', () => void supervisor.stop());
      process.on('SIGINT', () => void supervisor.stop());
      return await supervisor.run();
    }
  }
}

// Whoever read the events may have gone; the models are to be served all the same.
process.stdout.on('error', () => {});
process.stderr.on('error', () => {});
process.exitCode = await main();
