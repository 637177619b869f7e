/**
 * Reads a pair store as JSON lines, a page at a time: however large the file and slow the reader, one page is held, and no
 * transaction stays open that would keep the writer's log from being trimmed.
 */
import { DatabaseSync } from 'node:sqlite';

export interface PairFilter {
  /** '' for all models. */
  readonly model: string;
  /** `divergent`, `sample`, or '' for both. */
  readonly kind: string;
  /** Most pairs. */
  readonly limit: number;
}

const PAGE_PAIRS = 64;
/** A writer's commit may hold the file for a moment, milliseconds. */
const WAIT_MS = 250;

const QUERY = `SELECT * FROM pairs WHERE slot > ? AND (? = '' OR model = ?) AND (? = '' OR kind = ?)
  ORDER BY slot LIMIT ?`;

/** Pages of lines, each line one pair. @throws an Error of node:sqlite where the file cannot be read */
export async function* exportPairs(path: string, filter: PairFilter): AsyncGenerator<string> {
  const { model, kind } = filter;
  const database = new DatabaseSync(path, { readOnly: true, timeout: WAIT_MS });
  try {
    const query = database.prepare(QUERY);
    let left = filter.limit;
    let after = -1;
    while (left > 0) {
      const page = query.all(after, model, model, kind, kind, Math.min(PAGE_PAIRS, left));
      if (page.length === 0) return;
      left -= page.length;
      after = Number(page.at(-1)!['slot']);
      yield page.map((row) => `${JSON.stringify(pairOf(row))}\n`).join('');
    }
  } finally {
    database.close();
  }
}

function pairOf(row: Record<string, unknown>): object {
  return {
    kind: row['kind'],
    at: new Date(Number(row['at_ms'])).toISOString(),
    model: row['model'],
    primary: row['primary_cluster'],
    shadow: row['shadow_cluster'],
    cohorts: String(row['cohorts']).split(',').filter(Boolean),
    protocol: row['protocol'],
    method: row['method'],
    distance: Number(row['distance']) < 0 ? null : row['distance'],
    primaryStatus: row['primary_status'],
    shadowStatus: row['shadow_status'],
    primaryLatencyMs: row['primary_ms'],
    shadowLatencyMs: row['shadow_ms'],
    request: parsed(row['request']),
    primaryAnswer: parsed(row['primary_answer']),
    shadowAnswer: parsed(row['shadow_answer']),
  };
}

function parsed(text: unknown): unknown {
  return text === '' ? null : JSON.parse(String(text));
}
