/** The injector's entry: environment in, a webhook served until SIGTERM. */
import { Logger } from '../../base/logger.ts';
import { PodInjector } from './admission.ts';
import { CertificateFiles } from './certificate-files.ts';
import { planInjection } from './injection.ts';
import { type InjectorSettings, readInjectorSettings } from './settings.ts';
import { readSidecarParts } from './sidecar-parts.ts';
import { WebhookServer } from './webhook-server.ts';

const log = new Logger('info');

function refuse(problems: readonly string[]): never {
  for (const problem of problems) process.stderr.write(`${problem}\n`);
  process.exit(1);
}

/** A pod with nothing of its own: what is wrong with it is wrong with the defaults. */
const PLAIN_POD = { spec: { containers: [{ name: 'application' }] } };

async function run(settings: InjectorSettings): Promise<void> {
  log.level = settings.logLevel;
  const parts = readSidecarParts();
  const plan = planInjection(PLAIN_POD, settings.defaults, parts);
  // Defaults may leave the image, or the volume of the models, to the pods.
  if ('problems' in plan) log.warn('defaults_incomplete', { problems: plan.problems });
  const files = new CertificateFiles({ ...settings, log, onChange: (pair) => server.useCertificate(pair) });
  const server = new WebhookServer(new PodInjector(settings.defaults, parts), files.current, log);
  const port = await server.listen(settings.host, settings.port);
  files.start();
  log.info('listening', { role: 'webhook', host: settings.host, port });
  let stopping = false;
  const stop = async (): Promise<void> => {
    if (stopping) return;
    stopping = true;
    log.info('draining', { delayMs: settings.shutdownDelayMs });
    await new Promise((resolve) => setTimeout(resolve, settings.shutdownDelayMs));
    await server.close();
    files.close();
    log.info('stopped');
  };
  process.on('SIGTERM', () => void stop());
  process.on('SIGINT', () => void stop());
}

const result = readInjectorSettings(process.env);
if ('problems' in result) refuse(result.problems);
try {
  await run(result.settings);
} catch (error) {
  log.error('start_failed', { error });
  process.exit(1);
}
