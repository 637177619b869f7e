/**
 * Judges manifests by the Kubernetes types of the npm package `kubernetes-types`: each becomes a typed constant, and tsc,
 * which knows every field, says what is wrong. PodMonitor and cert-manager kinds have no types there and are left out.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '../../../..');
const PACKAGE = process.env['UNDERSTUDY_TEST_KUBERNETES_TYPES'] ?? join(ROOT, 'node_modules/kubernetes-types');

/** Why manifests cannot be judged here, or false. */
export const typesUnavailable: string | false = existsSync(join(PACKAGE, 'core/v1.d.ts'))
  ? false
  : 'needs the npm package kubernetes-types';

const MODULES: Readonly<Record<string, string>> = {
  v1: 'core/v1',
  'apps/v1': 'apps/v1',
  'policy/v1': 'policy/v1',
  'networking.k8s.io/v1': 'networking/v1',
  'admissionregistration.k8s.io/v1': 'admissionregistration/v1',
};

// biome-ignore lint/suspicious/noExplicitAny: manifests have any shape
export type Manifest = any;

/** `resources` and `scope` of a webhook's rule exist in Kubernetes and are missing in the package. */
function withoutGaps(key: string, value: unknown): unknown {
  if (key !== 'rules' || !Array.isArray(value)) return value;
  return value.map(({ resources: _resources, scope: _scope, ...rest }) => rest);
}

/** tsc's complaints, one a line; empty when every manifest is as Kubernetes knows it. */
export function typeErrors(manifests: readonly Manifest[]): string {
  const folder = mkdtempSync(join(tmpdir(), 'understudy-types-'));
  try {
    const lines: string[] = [];
    for (const [i, manifest] of manifests.entries()) {
      const module = MODULES[manifest.apiVersion];
      if (module === undefined) continue;
      const known = JSON.stringify(manifest, withoutGaps);
      lines.push(`import type { ${manifest.kind} as Kind${i} } from ${JSON.stringify(join(PACKAGE, module))};`);
      lines.push(`export const manifest${i}: Kind${i} = ${known};`);
    }
    writeFileSync(join(folder, 'manifests.ts'), lines.join('\n'));
    const options = [
      '--noEmit',
      '--strict',
      '--skipLibCheck',
      '--module',
      'esnext',
      '--moduleResolution',
      'bundler',
      '--target',
      'es2024',
      '--types',
      '',
    ];
    // A test runner preloads modules into every child, and tsc does not start with them.
    const tsc = ['-u', 'NODE_OPTIONS', process.execPath, join(ROOT, 'node_modules/typescript/bin/tsc')];
    const result = spawnSync('env', [...tsc, '--ignoreConfig', ...options, 'manifests.ts'], {
      cwd: folder,
      encoding: 'utf8',
    });
    return result.status === 0 ? '' : `${result.stdout}${result.stderr}`.trim();
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
