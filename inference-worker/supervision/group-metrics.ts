/**
 * Asks every group's process for its metrics and puts them together. A process that is not there or does not answer in
 * time is missing from the sums, and its `understudy_group_up` is 0: a scrape never waits for a stuck process.
 */
import { type MetricFamily, mergeFamilies } from '../metrics/metric-family.ts';
import type { MetricsDialect } from '../metrics/metrics-paths.ts';
import type { GroupCommand } from './group-messages.ts';

/** How long a process may take to answer; its front thread never blocks for long. */
export const ANSWER_TIMEOUT_MS = 1_000;

/** A group whose process can be asked. */
export interface AskedGroup {
  readonly name: string;
  /** Sends to the process that serves now; false when there is none. */
  send(command: GroupCommand): boolean;
}

type After = (ms: number, then: () => void) => () => void;

export class GroupMetrics {
  private readonly groups: readonly AskedGroup[];
  private readonly after: After;
  private readonly waiting = new Map<number, (families: readonly MetricFamily[]) => void>();
  private lastId = 0;

  constructor(groups: readonly AskedGroup[], after: After) {
    this.groups = groups;
    this.after = after;
  }

  /** What all groups tell. Never rejects. */
  async collect(dialect: MetricsDialect): Promise<MetricFamily[]> {
    const answers = await Promise.all(this.groups.map((group) => this.ask(group, dialect)));
    const merged = mergeFamilies(answers.map((answer) => answer ?? []));
    if (dialect === 'understudy') {
      const values = this.groups.map(({ name }, i) => ({
        labels: { group: name },
        value: answers[i] === null ? 0 : 1,
      }));
      merged.push({ name: 'understudy_group_up', help: 'Whether a group answers.', type: 'gauge', values });
    }
    return merged;
  }

  /** An answer of a process; one nobody waits for any more is dropped. */
  receive(id: number, families: readonly MetricFamily[]): void {
    this.waiting.get(id)?.(families);
  }

  private ask(group: AskedGroup, dialect: MetricsDialect): Promise<readonly MetricFamily[] | null> {
    const id = ++this.lastId;
    return new Promise((resolve) => {
      const forget = this.after(ANSWER_TIMEOUT_MS, () => end(null));
      const end = (families: readonly MetricFamily[] | null): void => {
        forget();
        this.waiting.delete(id);
        resolve(families);
      };
      this.waiting.set(id, end);
      if (!group.send({ kind: 'metrics', id, dialect })) end(null);
    });
  }
}
