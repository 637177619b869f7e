/**
 * Volumes of the pod that its annotations give to our containers: certificates, tokens, a place for pairs. Only volumes the
 * pod names itself, and never over what our containers need at a path of their own.
 */
import type { Pod, VolumeMount } from './kubernetes.ts';

const VOLUME = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?';
const PATH = '(?:/[A-Za-z0-9_][A-Za-z0-9._-]{0,62}){1,8}';
const MOUNT = `${VOLUME}:${PATH}(?::rw)?`;
export const MOUNTS_PATTERN = new RegExp(`^${MOUNT}(?:,${MOUNT}){0,15}$`);
export const MOUNTS_FORM = 'VOLUME:/PATH of volumes of this pod, joined by commas; read-only unless :rw follows';

/** Where our containers have something of their own. */
const OWN_PATHS: readonly string[] = [
  '/understudy',
  '/run/understudy',
  '/models',
  '/etc/understudy',
  '/proc',
  '/dev',
  '/sys',
];

/** The mounts of a text that `MOUNTS_PATTERN` accepts; none for an empty one. */
export function parseMounts(text: string): VolumeMount[] {
  if (text === '') return [];
  return text.split(',').map((part) => {
    const [name = '', mountPath = '', mode] = part.split(':');
    return { name, mountPath, ...(mode === 'rw' ? {} : { readOnly: true }) };
  });
}

/** What is wrong with them in this pod, each with the annotation's name and value. */
export function mountProblems(annotation: string, text: string, pod: Pod): string[] {
  const mounts = parseMounts(text);
  const paths = mounts.map(({ mountPath }) => mountPath);
  return mounts.flatMap(({ name, mountPath }, i) => {
    const problem = (what: string) => `${annotation} = ${JSON.stringify(`${name}:${mountPath}`)}: ${what}`;
    const problems: string[] = [];
    if (!(pod.spec.volumes ?? []).some((volume) => volume.name === name))
      problems.push(problem('this pod has no such volume'));
    if (
      OWN_PATHS.some((own) => mountPath === own || mountPath.startsWith(`${own}/`) || own.startsWith(`${mountPath}/`))
    )
      problems.push(problem('our containers have something of their own there'));
    if (paths.indexOf(mountPath) !== i) problems.push(problem('the path is given twice'));
    return problems;
  });
}
