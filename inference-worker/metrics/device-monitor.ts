/**
 * Memory and utilisation of NVIDIA devices through the driver's management library. Where the library is not installed
 * or does not start there are no devices to tell of: one log line says so, and the metrics are absent.
 */
import koffi from 'koffi';
import type { Logger } from '../../base/logger.ts';

export interface DeviceReading {
  readonly device: number;
  readonly name: string;
  readonly memoryTotalBytes: number;
  readonly memoryUsedBytes: number;
  /** Fraction of the last sample period in which a kernel ran, and in which memory was read or written; NaN unknown. */
  readonly busyFraction: number;
  readonly memoryBusyFraction: number;
}

export const NVML_LIBRARY = 'libnvidia-ml.so.1';
const NVML_SUCCESS = 0;
const NAME_BYTES = 96;

interface MemoryInfo {
  total: number | bigint;
  free: number | bigint;
  used: number | bigint;
}

interface Utilization {
  gpu: number;
  memory: number;
}

type NvmlCall = (...args: unknown[]) => number;

/** The functions of the library that are used. */
interface Nvml {
  readonly count: NvmlCall;
  readonly handle: NvmlCall;
  readonly name: NvmlCall;
  readonly memory: NvmlCall;
  readonly utilization: NvmlCall;
}

/** Structures are global to koffi and may be declared once. */
type KoffiType = ReturnType<typeof koffi.struct>;
let types: { device: KoffiType; memory: KoffiType; utilization: KoffiType } | null = null;

function declareTypes() {
  types ??= {
    device: koffi.pointer('UnderstudyNvmlDevice', koffi.opaque()) as KoffiType,
    memory: koffi.struct('UnderstudyNvmlMemory', { total: 'uint64_t', free: 'uint64_t', used: 'uint64_t' }),
    utilization: koffi.struct('UnderstudyNvmlUtilization', { gpu: 'uint32_t', memory: 'uint32_t' }),
  };
  return types;
}

export class DeviceMonitor {
  private readonly nvml: Nvml | null;
  private readonly handles: unknown[] = [];

  /** Opens `library`; a file name is looked for where the system keeps libraries. */
  constructor(log: Logger, library: string = NVML_LIBRARY) {
    this.nvml = this.open(log, library);
  }

  /** What each device says now; empty without a library. A device that does not answer is left out. */
  read(): DeviceReading[] {
    const { nvml } = this;
    if (nvml === null) return [];
    const readings: DeviceReading[] = [];
    this.handles.forEach((handle, device) => {
      const memory: Partial<MemoryInfo> = {};
      if (nvml.memory(handle, memory) !== NVML_SUCCESS) return;
      const busy: Partial<Utilization> = {};
      const known = nvml.utilization(handle, busy) === NVML_SUCCESS;
      readings.push({
        device,
        name: this.nameOf(nvml, handle),
        memoryTotalBytes: Number(memory.total),
        memoryUsedBytes: Number(memory.used),
        busyFraction: known ? busy.gpu! / 100 : Number.NaN,
        memoryBusyFraction: known ? busy.memory! / 100 : Number.NaN,
      });
    });
    return readings;
  }

  private open(log: Logger, library: string): Nvml | null {
    try {
      const { device, memory, utilization } = declareTypes();
      const lib = koffi.load(library);
      const init = lib.func('nvmlInit_v2', 'int', []) as NvmlCall;
      const nvml: Nvml = {
        count: lib.func('nvmlDeviceGetCount_v2', 'int', [koffi.out(koffi.pointer('uint32_t'))]) as NvmlCall,
        handle: lib.func('nvmlDeviceGetHandleByIndex_v2', 'int', [
          'uint32_t',
          koffi.out(koffi.pointer(device)),
        ]) as NvmlCall,
        name: lib.func('nvmlDeviceGetName', 'int', [device, koffi.out('uint8_t*'), 'uint32_t']) as NvmlCall,
        memory: lib.func('nvmlDeviceGetMemoryInfo', 'int', [device, koffi.out(koffi.pointer(memory))]) as NvmlCall,
        utilization: lib.func('nvmlDeviceGetUtilizationRates', 'int', [
          device,
          koffi.out(koffi.pointer(utilization)),
        ]) as NvmlCall,
      };
      const started = init();
      if (started !== NVML_SUCCESS) throw new Error(`nvmlInit_v2 answered ${started}`);
      this.findDevices(nvml);
      log.info('device_metrics', { library, devices: this.handles.length });
      return nvml;
    } catch (error) {
      log.info('device_metrics_absent', { library, reason: (error as Error).message });
      return null;
    }
  }

  private findDevices(nvml: Nvml): void {
    const count: number[] = [0];
    if (nvml.count(count) !== NVML_SUCCESS) return;
    for (let i = 0; i < count[0]; i++) {
      const handle: unknown[] = [null];
      if (nvml.handle(i, handle) === NVML_SUCCESS) this.handles.push(handle[0]);
    }
  }

  private nameOf(nvml: Nvml, handle: unknown): string {
    const bytes = Buffer.alloc(NAME_BYTES);
    if (nvml.name(handle, bytes, NAME_BYTES) !== NVML_SUCCESS) return '';
    const end = bytes.indexOf(0);
    return bytes.toString('utf8', 0, end < 0 ? NAME_BYTES : end);
  }
}
