/**
 * Pairs kept for people to look at: those that diverged, the latest ones, and a uniform sample of all, in a file of fixed
 * capacity.
 *
 *   slot   0 .. D-1                    D .. N-1
 *          divergent pairs, a ring     a uniform sample (reservoir); N pairs in all, D of them four fifths
 *
 * A pair has a slot and a slot has one pair, so the file cannot hold more than N; its bytes are bounded by SQLite itself.
 * The store lives on the analysis thread. Nothing that happens to the file harms more than what is written to it: a full
 * disk, a lock or a broken file is counted and the pair is given up; a file that is no database is set aside and begun anew.
 */
import { renameSync, rmSync } from 'node:fs';
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { PairStoreOptions, StoreCounts } from './store-counts.ts';

/** One pair as it is kept: bodies are JSON text already redacted, '' where there is none. */
export interface StoredPair {
  readonly atMs: number;
  readonly model: string;
  readonly primary: string;
  readonly shadow: string;
  /** Cohort names, separated by commas. */
  readonly cohorts: string;
  readonly protocol: string;
  readonly method: string;
  readonly primaryStatus: number;
  readonly shadowStatus: number;
  readonly primaryLatencyMs: number;
  readonly shadowLatencyMs: number;
  /** Mean distance of its rows, 0..1; -1 where it could not be judged. */
  readonly distance: number;
  readonly request: string;
  readonly primaryAnswer: string;
  readonly shadowAnswer: string;
}

const DIVERGENT_SHARE = 0.8;
const PAGE_BYTES = 4096;
/** After a failure the file is tried again so much later, milliseconds. */
const RETRY_MS = 5000;
const SQLITE_BUSY = 5;
const SQLITE_LOCKED = 6;
const SQLITE_CORRUPT = 11;
const SQLITE_FULL = 13;
const SQLITE_NOTADB = 26;

const SCHEMA = `
CREATE TABLE IF NOT EXISTS pairs(
  slot INTEGER PRIMARY KEY, kind TEXT NOT NULL, at_ms INTEGER NOT NULL, model TEXT NOT NULL, primary_cluster TEXT NOT NULL,
  shadow_cluster TEXT NOT NULL, cohorts TEXT NOT NULL, protocol TEXT NOT NULL, method TEXT NOT NULL,
  primary_status INTEGER NOT NULL, shadow_status INTEGER NOT NULL, primary_ms REAL NOT NULL, shadow_ms REAL NOT NULL,
  distance REAL NOT NULL, request TEXT NOT NULL, primary_answer TEXT NOT NULL, shadow_answer TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS state(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
`;

type Count = 'full' | 'locked' | 'corrupt' | 'failed';

export class PairStore {
  private readonly options: PairStoreOptions;
  private readonly random: () => number;
  private readonly divergentSlots: number;
  private readonly sampleSlots: number;
  private database: DatabaseSync | null = null;
  private insert: StatementSync | null = null;
  private retryAtMs = Number.NEGATIVE_INFINITY;
  private inTransaction = false;
  /** Divergent pairs so far, and pairs the sample is drawn from. */
  private divergent = 0;
  private seen = 0;
  private pairs = 0;
  private written = 0;
  private pending = 0;
  private readonly lost: Record<Count, number> = { full: 0, locked: 0, corrupt: 0, failed: 0 };

  /** `random` draws the sample. The file is opened at the first pair. */
  constructor(options: PairStoreOptions, random: () => number) {
    this.options = options;
    this.random = random;
    this.divergentSlots = Math.floor(options.maxPairs * DIVERGENT_SHARE);
    this.sampleSlots = options.maxPairs - this.divergentSlots;
  }

  get counts(): StoreCounts {
    return { pairs: this.pairs, written: this.written, ...this.lost };
  }

  /** Whether this pair is to be kept, and where; -1 for not. Every pair asks once, for the sample to be uniform. */
  slotFor(divergent: boolean, nowMs: number): number {
    if (this.database === null && nowMs >= this.retryAtMs) this.connect(nowMs);
    this.seen++;
    if (divergent) return this.divergent % this.divergentSlots;
    if (this.seen <= this.sampleSlots) return this.divergentSlots + this.seen - 1;
    const place = Math.floor(this.random() * this.seen);
    return place < this.sampleSlots ? this.divergentSlots + place : -1;
  }

  /** Keeps a pair in the slot it was given. What cannot be written is counted. Durable after `commit`. */
  put(slot: number, pair: StoredPair): void {
    const isDivergent = slot < this.divergentSlots;
    if (isDivergent) this.divergent++;
    if (!this.begin(pair.atMs)) return;
    try {
      this.insert!.run(
        slot,
        isDivergent ? 'divergent' : 'sample',
        Math.round(pair.atMs),
        pair.model,
        pair.primary,
        pair.shadow,
        pair.cohorts,
        pair.protocol,
        pair.method,
        pair.primaryStatus,
        pair.shadowStatus,
        pair.primaryLatencyMs,
        pair.shadowLatencyMs,
        pair.distance,
        pair.request,
        pair.primaryAnswer,
        pair.shadowAnswer,
      );
      this.pending++;
    } catch (error) {
      this.giveUp(error, pair.atMs, 1);
    }
  }

  /** Ends the batch: what was put is in the file, or counted as lost. */
  commit(nowMs: number): void {
    if (!this.inTransaction) return;
    const { database } = this;
    try {
      database!
        .prepare("INSERT OR REPLACE INTO state VALUES ('seen', ?), ('divergent', ?)")
        .run(this.seen, this.divergent);
      database!.exec('COMMIT');
      this.inTransaction = false;
      this.written += this.pending;
      this.pending = 0;
      this.pairs = countOf(database!);
    } catch (error) {
      this.giveUp(error, nowMs, 0);
    }
  }

  close(): void {
    this.release();
  }

  /** A transaction is open, or the pair is counted as lost. */
  private begin(nowMs: number): boolean {
    if (this.inTransaction) return true;
    if (this.database === null && nowMs < this.retryAtMs) {
      this.lost.failed++;
      return false;
    }
    try {
      this.database ??= this.open();
      this.database.exec('BEGIN IMMEDIATE');
      this.inTransaction = true;
      return true;
    } catch (error) {
      this.giveUp(error, nowMs, 1);
      return false;
    }
  }

  /** Opens the file before the first slot is given: it knows what its slots hold. A failure is counted when it costs a pair. */
  private connect(nowMs: number): void {
    try {
      this.database = this.open();
    } catch (error) {
      this.giveUp(error, nowMs, reasonOf(error) === 'corrupt' ? 1 : 0);
    }
  }

  private open(): DatabaseSync {
    const { path, maxPairs, maxBytes } = this.options;
    const sqlite = process.getBuiltinModule('node:sqlite');
    const database = new sqlite.DatabaseSync(path, { timeout: 0 });
    try {
      database.exec(
        `PRAGMA page_size = ${PAGE_BYTES}; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
         PRAGMA journal_size_limit = ${Math.floor(maxBytes / 4)};
         PRAGMA max_page_count = ${Math.floor(maxBytes / PAGE_BYTES)}; ${SCHEMA}`,
      );
      const state = new Map(
        database
          .prepare('SELECT name, value FROM state')
          .all()
          .map((row) => [String(row['name']), Number(row['value'])]),
      );
      if (state.has('capacity') && state.get('capacity') !== maxPairs) {
        // Slots mean something else under another capacity, and a sample cannot be resized.
        database.exec('DELETE FROM pairs; DELETE FROM state');
        state.clear();
      }
      database.prepare("INSERT OR REPLACE INTO state VALUES ('capacity', ?)").run(maxPairs);
      // A store that begins adopts what the file has seen; one that reopens it knows better.
      this.seen = Math.max(this.seen, state.get('seen') ?? 0);
      this.divergent = Math.max(this.divergent, state.get('divergent') ?? 0);
      this.pairs = countOf(database);
      const marks = new Array(17).fill('?').join(', ');
      this.insert = database.prepare(`INSERT OR REPLACE INTO pairs VALUES (${marks})`);
      return database;
    } catch (error) {
      database.close();
      throw error;
    }
  }

  /** Counts what is lost with this failure and leaves the file alone for a while, or sets it aside if it is broken. */
  private giveUp(error: unknown, nowMs: number, more: number): void {
    const reason = reasonOf(error);
    this.lost[reason] += this.pending + more;
    this.pending = 0;
    if (reason === 'full' || reason === 'locked') {
      this.rollBack();
      return;
    }
    this.release();
    if (reason === 'corrupt') setAside(this.options.path);
    else this.retryAtMs = nowMs + RETRY_MS;
  }

  private rollBack(): void {
    if (!this.inTransaction) return;
    this.inTransaction = false;
    try {
      this.database?.exec('ROLLBACK');
    } catch {
      // SQLite has rolled back by itself, as it does where the disk is full.
    }
  }

  private release(): void {
    this.rollBack();
    try {
      this.database?.close();
    } catch {
      // Nothing is left to lose.
    }
    this.database = null;
    this.insert = null;
  }
}

function countOf(database: DatabaseSync): number {
  return Number(database.prepare('SELECT count(*) AS pairs FROM pairs').get()!['pairs']);
}

function reasonOf(error: unknown): Count {
  const code = (error as { errcode?: number }).errcode;
  switch (code === undefined ? -1 : code & 0xff) {
    case SQLITE_FULL:
      return 'full';
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return 'locked';
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return 'corrupt';
    default:
      return 'failed';
  }
}

/** A broken file is kept once for whoever wants to look; its log would be applied to the next one. */
function setAside(path: string): void {
  try {
    renameSync(path, `${path}.corrupt`);
  } catch {
    // Another process may have done it.
  }
  for (const suffix of ['-wal', '-shm']) rmSync(path + suffix, { force: true });
}
