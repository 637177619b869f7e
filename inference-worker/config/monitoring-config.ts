/** Reads TensorFlow Serving's `MonitoringConfig` in text format: whether metrics are served over HTTP, and where. */
import { booleanOf, messageOf, readFields, readText, scalarOf } from './text-fields.ts';

/** Where TensorFlow Serving puts its metrics unless it is told otherwise. */
export const DEFAULT_METRICS_PATH = '/monitoring/prometheus/metrics';

export interface MonitoringSettings {
  readonly enabled: boolean;
  /** Path of the metrics with TensorFlow Serving's names, on the port of the REST API. */
  readonly path: string;
}

/** The settings of a text; `problems` is empty when they can be used. */
export function parseMonitoringConfig(text: string): { monitoring: MonitoringSettings; problems: string[] } {
  let enabled = false;
  let path = '';
  const problems: string[] = [];
  const message = readText(text, problems);
  if (message !== null) {
    const prometheus = {
      enable: (field: Parameters<typeof booleanOf>[0]) => {
        enabled = booleanOf(field);
      },
      path: (field: Parameters<typeof scalarOf>[0]) => {
        path = scalarOf(field);
        if (!/^\/[\x21-\x7e]*$/.test(path)) throw new Error(`a path that begins with /, got ${path}`);
      },
    };
    readFields(message, { prometheus_config: (field) => readFields(messageOf(field), prometheus, problems) }, problems);
  }
  return { monitoring: { enabled, path: path === '' ? DEFAULT_METRICS_PATH : path }, problems };
}
