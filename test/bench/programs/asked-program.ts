/** A program of the bench's own that announces itself over IPC and then answers one message at a time. */
import { PinnedProgram, type ProgramOptions } from './pinned-program.ts';

export class AskedProgram<Announcement, Question extends object, Answer> {
  readonly program: PinnedProgram;
  readonly announcement: Announcement;

  private constructor(program: PinnedProgram, announcement: Announcement) {
    this.program = program;
    this.announcement = announcement;
  }

  /** Starts `script` under this Node; resolves with its announcement. */
  static async start<Announcement, Question extends object, Answer>(
    options: Pick<ProgramOptions, 'name' | 'core' | 'givesWay'> & {
      readonly script: string;
      readonly args: readonly string[];
      readonly readyWithinMs?: number;
    },
  ): Promise<AskedProgram<Announcement, Question, Answer>> {
    const { name, core, script, args, givesWay } = options;
    const program = new PinnedProgram({
      name,
      command: process.execPath,
      args: [script, ...args],
      core,
      givesWay,
      ipc: true,
    });
    let announcement: Announcement | null = null;
    program.child.once('message', (message) => {
      announcement = message as Announcement;
    });
    await program.ready(() => announcement !== null, options.readyWithinMs);
    return new AskedProgram(program, announcement!);
  }

  /** Its answer. Rejects if it ends first. */
  ask(question: Question): Promise<Answer> {
    this.program.check();
    return new Promise((resolve, reject) => {
      const { child } = this.program;
      const onEnd = (): void => reject(new Error(`${this.program.name} ended: ${this.program.lastOutput}`));
      child.once('close', onEnd);
      child.once('message', (message) => {
        child.off('close', onEnd);
        resolve(message as Answer);
      });
      child.send(question);
    });
  }
}
