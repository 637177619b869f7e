/**
 * Makes the file tree of an image's own directory without Docker, by following the Dockerfile: the same COPY lines, the
 * same .dockerignore, and for the `modules` stage the same packages that `npm ci --omit=dev` installs, taken from this
 * checkout's `node_modules` by the lock file, and then the same pruning program.
 *
 *   node deploy/image/assemble.ts STAGE DIRECTORY
 *
 * Rule: a RUN line that is not listed in `KNOWN_RUNS` stops it. Files are hard links where the file system allows: treat
 * the tree as read-only.
 */
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { basename, dirname, join, matchesGlob, relative, resolve } from 'node:path';
import { parseDockerfile, type Stage, stageOf } from './dockerfile.ts';

const ROOT = join(import.meta.dirname, '../..');

/** RUN lines and what they do to the tree; system packages are outside of it. */
const KNOWN_RUNS: readonly { readonly pattern: RegExp; readonly act: (tree: string, root: string) => void }[] = [
  {
    pattern:
      /^apt-get update && apt-get install -y --no-install-recommends [a-z0-9 +-]+ && rm -rf \/var\/lib\/apt\/lists\/\*$/,
    act: () => {},
  },
  { pattern: /^npm ci --omit=dev --no-audit --no-fund$/, act: installProduction },
  { pattern: /^node deploy\/image\/prune-modules\.mjs \/understudy$/, act: prune },
];

/** Assembles what a stage holds below its WORKDIR into the empty directory `into`; `root` is the checkout. */
export function assemble(target: string, into: string, root = ROOT): void {
  const stages = parseDockerfile(readFileSync(join(root, 'Dockerfile'), 'utf8'));
  const ignored = ignorePatterns(readFileSync(join(root, '.dockerignore'), 'utf8'));
  const assembly = new Assembly(stages, ignored, root, `${into}.stages`);
  try {
    assembly.build(stageOf(stages, target), into);
  } finally {
    rmSync(`${into}.stages`, { recursive: true, force: true });
  }
}

class Assembly {
  private readonly stages: readonly Stage[];
  private readonly ignored: readonly string[];
  private readonly root: string;
  /** Where the other stages are built that this one copies from. */
  private readonly aside: string;

  constructor(stages: readonly Stage[], ignored: readonly string[], root: string, aside: string) {
    this.stages = stages;
    this.ignored = ignored;
    this.root = root;
    this.aside = aside;
  }

  build(stage: Stage, into: string): void {
    const base = this.stages.find((candidate) => candidate.name === stage.base);
    if (base !== undefined) this.build(base, into);
    mkdirSync(into, { recursive: true });
    for (const instruction of stage.instructions) {
      if (instruction.kind === 'run') this.run(instruction.text, into);
      else if (instruction.kind !== 'copy') continue;
      else if (instruction.from === null) this.copyContext(instruction.sources, instruction.destination, into);
      else this.copyStage(stageOf(this.stages, instruction.from), instruction, stage, into);
    }
  }

  private run(text: string, into: string): void {
    const known = KNOWN_RUNS.find(({ pattern }) => pattern.test(text));
    if (known === undefined) throw new Error(`RUN ${text}: not known here; say in KNOWN_RUNS what it does to the tree`);
    known.act(into, this.root);
  }

  private copyContext(sources: readonly string[], destination: string, into: string): void {
    for (const source of sources) {
      const path = join(this.root, source);
      if (!existsSync(path) || this.isIgnored(source)) throw new Error(`COPY ${source}: not in the build context`);
      copyInto(path, into, destination, sources.length, (file) => this.isIgnored(relative(this.root, file)));
    }
  }

  /** Builds the other stage aside and copies from there what is asked. */
  private copyStage(
    from: Stage,
    { sources, destination }: { readonly sources: readonly string[]; readonly destination: string },
    stage: Stage,
    into: string,
  ): void {
    const aside = join(this.aside, from.name);
    if (!existsSync(aside)) this.build(from, aside);
    for (const source of sources) {
      const path = join(aside, relative(from.directory, source));
      copyInto(
        path,
        into,
        relative(stage.directory, resolve(stage.directory, destination)) || '.',
        sources.length,
        () => false,
      );
    }
  }

  private isIgnored(path: string): boolean {
    for (let at = path; at !== '.' && at !== ''; at = dirname(at)) {
      if (this.ignored.some((pattern) => matchesGlob(at, pattern))) return true;
    }
    return false;
  }
}

/** COPY's rules: a directory's content goes into the destination; a file goes into it when it ends in `/` or is `.`. */
function copyInto(
  path: string,
  into: string,
  destination: string,
  count: number,
  skip: (path: string) => boolean,
): void {
  const target = join(into, destination);
  if (lstatSync(path).isDirectory()) linkTree(path, target, skip);
  else {
    const isFolder = count > 1 || destination.endsWith('/') || destination === '.';
    linkTree(path, isFolder ? join(target, basename(path)) : target, skip);
  }
}

function linkTree(from: string, to: string, skip: (path: string) => boolean): void {
  const stat = lstatSync(from);
  if (stat.isDirectory()) {
    mkdirSync(to, { recursive: true });
    for (const name of readdirSync(from)) {
      if (!skip(join(from, name))) linkTree(join(from, name), join(to, name), skip);
    }
    return;
  }
  mkdirSync(dirname(to), { recursive: true });
  if (stat.isSymbolicLink()) {
    symlinkSync(readlinkSync(from), to);
    return;
  }
  try {
    linkSync(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EXDEV') throw error;
    copyFileSync(from, to);
  }
}

function prune(tree: string): void {
  const result = spawnSync(process.execPath, [join(tree, 'deploy/image/prune-modules.mjs'), tree], {
    encoding: 'utf8',
  });
  if (result.status !== 0) throw new Error(`prune-modules: ${result.stderr}`);
}

interface LockedPackage {
  readonly dev?: boolean;
}

/** What `npm ci --omit=dev` installs, as far as it is installed here: the rest is for other platforms. */
function installProduction(tree: string, root: string): void {
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, LockedPackage>;
  };
  for (const [path, { dev = false }] of Object.entries(lock.packages)) {
    if (path === '' || dev || !existsSync(join(root, path))) continue;
    linkTree(join(root, path), join(tree, path), (file) => basename(file) === 'node_modules');
  }
}

function ignorePatterns(text: string): string[] {
  const lines = text.split('\n').map((line) => line.trim());
  const patterns = lines.filter((line) => line !== '' && !line.startsWith('#'));
  const inverted = patterns.find((pattern) => pattern.startsWith('!'));
  if (inverted !== undefined) throw new Error(`.dockerignore: ${inverted} is not understood here`);
  return patterns;
}

if (import.meta.main) {
  const [target, into] = process.argv.slice(2);
  if (target === undefined || into === undefined || existsSync(into)) {
    process.stderr.write('usage: assemble.ts STAGE DIRECTORY      the directory must not exist yet\n');
    process.exit(2);
  }
  assemble(target, resolve(into));
}
