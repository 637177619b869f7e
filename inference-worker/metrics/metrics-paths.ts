/** Where metrics are served over HTTP. TensorFlow Serving's path can be moved by its monitoring configuration. */
export const METRICS_PATH = '/metrics';
export const TFS_METRICS_PATH = '/monitoring/prometheus/metrics';
export const METRICS_CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/** Our own names with version and signature labels, or TensorFlow Serving's. */
export type MetricsDialect = 'understudy' | 'tensorflow';
