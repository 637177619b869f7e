/** NVIDIA's management library, stood in for by one of a few lines: readings as it gives them, silence without it. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { Logger } from '../../../../base/logger.ts';
import { DeviceMonitor } from '../../../../inference-worker/metrics/device-monitor.ts';

const LIBRARY = `
#include <string.h>
typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned int gpu, memory; } use_t;
static int devices[2] = { 0, 1 };
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned int *n) { *n = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int i, void **d) { *d = &devices[i]; return 0; }
int nvmlDeviceGetName(void *d, char *name, unsigned int n) { strncpy(name, "Test GPU", n); return 0; }
int nvmlDeviceGetMemoryInfo(void *d, memory_t *m) {
  m->total = 85899345920ull; m->used = 1073741824ull * (1 + *(int *)d); m->free = m->total - m->used; return 0;
}
int nvmlDeviceGetUtilizationRates(void *d, use_t *u) {
  if (*(int *)d == 1) return 3;
  u->gpu = 37; u->memory = 12; return 0;
}
`;

function logged(): { log: Logger; events: Record<string, unknown>[] } {
  const events: Record<string, unknown>[] = [];
  return { log: new Logger('info', {}, (line) => events.push(JSON.parse(line))), events };
}

t.test('without the library there are no devices, and one line says so', async (t) => {
  const { log, events } = logged();
  const monitor = new DeviceMonitor(log, 'libunderstudy-no-such-library.so.1');
  t.same(monitor.read(), []);
  t.same(monitor.read(), []);
  t.match(events, [{ event: 'device_metrics_absent', library: 'libunderstudy-no-such-library.so.1' }]);
  t.equal(events.length, 1);
});

const folder = mkdtempSync(join(tmpdir(), 'understudy-nvml-'));
t.teardown(() => rmSync(folder, { recursive: true }));
writeFileSync(join(folder, 'nvml.c'), LIBRARY);
const library = join(folder, 'libnvidia-ml.so.1');
const built = spawnSync('cc', ['-shared', '-fPIC', '-o', library, join(folder, 'nvml.c')]).status === 0;

t.test('devices are read one by one', { skip: built ? false : 'no C compiler' }, async (t) => {
  const { log, events } = logged();
  const monitor = new DeviceMonitor(log, library);
  t.match(events, [{ event: 'device_metrics', devices: 2 }]);
  t.match(monitor.read(), [
    { device: 0, name: 'Test GPU', memoryTotalBytes: 80 * 2 ** 30, memoryUsedBytes: 2 ** 30, busyFraction: 0.37 },
    { device: 1, memoryUsedBytes: 2 ** 31 },
  ]);
  t.ok(Number.isNaN(monitor.read()[1]!.busyFraction), 'a device that does not tell its use still tells its memory');
});
