/**
 * Reads the parts of a Dockerfile that decide which files an image holds: stages, COPY, WORKDIR, RUN, USER, ENTRYPOINT.
 * Pure: text in, stages out.
 */

export interface Copy {
  readonly kind: 'copy';
  /** Name of the stage copied from; null is the build context. */
  readonly from: string | null;
  readonly sources: readonly string[];
  readonly destination: string;
}

export type Instruction = Copy | { readonly kind: 'run' | 'user' | 'entrypoint' | 'cmd'; readonly text: string };

export interface Stage {
  readonly name: string;
  /** What FROM names: an earlier stage, `scratch`, or an image. */
  readonly base: string;
  readonly instructions: readonly Instruction[];
  /** The last WORKDIR. */
  readonly directory: string;
}

const IGNORED = new Set(['ARG', 'ENV', 'LABEL', 'EXPOSE']);

/** The stages in order. Throws for an instruction whose effect on files is not known here. */
export function parseDockerfile(text: string): Stage[] {
  const stages: { name: string; base: string; instructions: Instruction[]; directory: string }[] = [];
  const joined = text.replace(/\\\n/g, ' ');
  for (const line of joined.split('\n').map((raw) => raw.trim())) {
    if (line === '' || line.startsWith('#')) continue;
    const word = /^[A-Z]+/.exec(line)?.[0] ?? line;
    const rest = line.slice(word.length).trim();
    const stage = stages.at(-1);
    if (word === 'FROM') {
      const [base = '', , name = ''] = rest.split(/\s+/);
      if (name === '') throw new Error(`FROM ${rest}: every stage has a name`);
      const parent = stages.find((candidate) => candidate.name === base);
      stages.push({ name, base, instructions: [], directory: parent?.directory ?? '/' });
    } else if (word === 'WORKDIR' && stage !== undefined) stage.directory = rest;
    else if (word === 'COPY') stage?.instructions.push(parseCopy(rest));
    else if (word === 'RUN' || word === 'USER' || word === 'ENTRYPOINT' || word === 'CMD') {
      stage?.instructions.push({ kind: word.toLowerCase() as 'run', text: rest });
    } else if (!IGNORED.has(word)) throw new Error(`${word}: not an instruction this reader knows`);
  }
  return stages;
}

/** The stage of that name. */
export function stageOf(stages: readonly Stage[], name: string): Stage {
  const stage = stages.find((candidate) => candidate.name === name);
  if (stage === undefined) throw new Error(`no stage ${name} in the Dockerfile`);
  return stage;
}

/** The last ENTRYPOINT, CMD or USER of a stage, as written. */
export function lastOf(stage: Stage, kind: 'entrypoint' | 'cmd' | 'user'): string | undefined {
  const found = stage.instructions.findLast((instruction) => instruction.kind === kind);
  return found === undefined || found.kind === 'copy' ? undefined : found.text;
}

function parseCopy(rest: string): Copy {
  const words = rest.split(/\s+/);
  let from: string | null = null;
  while (words[0]?.startsWith('--')) {
    const [option, value] = words.shift()!.split('=', 2);
    if (option !== '--from' || value === undefined) throw new Error(`COPY ${option}: not an option this reader knows`);
    from = value;
  }
  const destination = words.pop();
  if (destination === undefined || words.length === 0)
    throw new Error(`COPY ${rest}: needs a source and a destination`);
  return { kind: 'copy', from, sources: words, destination };
}
