/** The shared description of our containers, `sidecars.yaml`, read and given types. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import type { Container, Volume } from './kubernetes.ts';

/** A container whose environment is still a map. */
export type ContainerPart = Omit<Container, 'env'> & { readonly env: Readonly<Record<string, string>> };

export interface SidecarParts {
  readonly worker: ContainerPart;
  readonly proxy: ContainerPart;
  readonly interception: ContainerPart;
  readonly shapes: Readonly<
    Record<
      'application' | 'model-server',
      {
        readonly interception: Pick<ContainerPart, 'env'>;
        readonly proxy: Pick<ContainerPart, 'env'>;
      }
    >
  >;
  readonly volumes: { readonly run: Volume };
}

export const SIDECARS_FILE = join(import.meta.dirname, '../helm/understudy/files/sidecars.yaml');

export function readSidecarParts(path = SIDECARS_FILE): SidecarParts {
  return parse(readFileSync(path, 'utf8')) as SidecarParts;
}
