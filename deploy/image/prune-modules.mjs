/**
 * Takes out of an installed `node_modules` what no container runs: native libraries of other platforms, headers and
 * manuals; and gives the pinned Node one name for every architecture, `bin/node`. Plain JavaScript, because it runs in
 * the build, before the pinned Node has that name. Run again it changes nothing.
 *
 *   node deploy/image/prune-modules.mjs DIRECTORY      the directory that holds node_modules
 */
import { existsSync, mkdirSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Paths below `node_modules` that are never run, for one platform such as `linux-x64`. */
export function uselessPaths(root, platform) {
  const [os, arch] = platform.split('-');
  const modules = join(root, 'node_modules');
  const useless = ['.bin', '.cache', '.understudy-installed'];
  for (const part of ['include', 'share', 'CHANGELOG.md', 'README.md']) useless.push(`node-${platform}/${part}`);
  for (const part of ['vendor', 'doc']) useless.push(`koffi/${part}`);
  const libraries = 'onnxruntime-node/bin/napi-v6';
  for (const name of listed(join(modules, libraries))) {
    if (name !== os) useless.push(`${libraries}/${name}`);
  }
  for (const name of listed(join(modules, libraries, os))) {
    if (name !== arch) useless.push(`${libraries}/${os}/${name}`);
  }
  return useless.map((path) => join(modules, path));
}

/** Removes them and makes the `bin/node` link. */
export function pruneModules(root, platform = `${process.platform}-${process.arch}`) {
  const node = join('node_modules', `node-${platform}`, 'bin', 'node');
  if (!existsSync(join(root, node))) throw new Error(`${join(root, node)} is missing: no pinned Node for ${platform}`);
  for (const path of uselessPaths(root, platform)) rmSync(path, { recursive: true, force: true });
  const link = join(root, 'bin', 'node');
  mkdirSync(dirname(link), { recursive: true });
  rmSync(link, { force: true });
  symlinkSync(join('..', node), link);
}

function listed(directory) {
  return existsSync(directory) ? readdirSync(directory) : [];
}

if (import.meta.main) {
  const [root] = process.argv.slice(2);
  if (root === undefined) {
    process.stderr.write('usage: prune-modules.mjs DIRECTORY\n');
    process.exit(2);
  }
  pruneModules(root);
}
