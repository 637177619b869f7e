/**
 * Process entry of `npm run test:webgpu`: the GPU provider's whole path with no GPU. WebGPU runs on the software Vulkan
 * driver that Debian's chromium package carries; it is installed when this runs as root, otherwise the test is skipped
 * by name. The exit code is the test's.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

const FOLDERS = ['/usr/lib/chromium', '/usr/lib/chromium-browser'];
const DRIVER = 'vk_swiftshader_icd.json';
const INSTALL = ['apt-get', 'install', '-y', '--no-install-recommends', 'chromium'];

function driverFolder(): string | undefined {
  return FOLDERS.find((folder) => existsSync(join(folder, DRIVER)));
}

/** Installs the package that has the driver; says why it could not. */
function install(): string | null {
  if (process.platform !== 'linux') return 'the driver comes from a Debian package';
  if (process.getuid?.() !== 0) return `installing the driver takes root: ${INSTALL.join(' ')}`;
  process.stderr.write(`test:webgpu: ${INSTALL.join(' ')}\n`);
  spawnSync('apt-get', ['update'], { stdio: ['ignore', 2, 2] });
  const { status, error } = spawnSync(INSTALL[0]!, INSTALL.slice(1), {
    stdio: ['ignore', 2, 2],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  });
  if (status === 0 && driverFolder() !== undefined) return null;
  return `the chromium package could not be installed${error ? `: ${error.message}` : ''}`;
}

function run(folder: string): number {
  const driver = join(folder, DRIVER);
  const libraries = [folder, process.env['LD_LIBRARY_PATH']].filter(Boolean).join(':');
  const { status } = spawnSync(process.execPath, [join(import.meta.dirname, 'webgpu-path.ts')], {
    stdio: 'inherit',
    env: { ...process.env, VK_DRIVER_FILES: driver, VK_ICD_FILENAMES: driver, LD_LIBRARY_PATH: libraries },
  });
  return status ?? 1;
}

const reason = driverFolder() === undefined ? install() : null;
if (reason === null) process.exit(run(driverFolder()!));
process.stdout.write(`TAP version 14\n1..1\nok 1 - the GPU provider's path on WebGPU # SKIP ${reason}\n`);
