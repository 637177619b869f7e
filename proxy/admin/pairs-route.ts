/** `GET /pairs`: the pairs kept, as JSON lines. */
import { type AdminAnswer, jsonAnswer } from './admin-server.ts';

/** Pairs of one answer unless the query asks for more. */
const DEFAULT_LIMIT = 1000;
const MAX_LIMIT = 10_000_000;
const KINDS: readonly string[] = ['', 'divergent', 'sample'];

/** Answers `?model=NAME&kind=divergent|sample&limit=N` from the store at `path`; null where none is kept. */
export async function answerPairs(path: string | null, query: URLSearchParams): Promise<AdminAnswer> {
  if (path === null) return jsonAnswer({ error: 'no pairs are kept; see UNDERSTUDY_PAIR_STORE' }, 404);
  const model = query.get('model') ?? '';
  const kind = query.get('kind') ?? '';
  const limit = Number(query.get('limit') ?? DEFAULT_LIMIT);
  if (!KINDS.includes(kind)) return jsonAnswer({ error: 'kind must be divergent or sample' }, 400);
  if (!Number.isInteger(limit) || limit < 1 || limit > MAX_LIMIT) {
    return jsonAnswer({ error: `limit must be a whole number from 1 to ${MAX_LIMIT}` }, 400);
  }
  const { exportPairs } = await import('../mirror/pair-export.ts');
  const pages = exportPairs(path, { model, kind, limit });
  // The first page is read before the status is sent, so that a file that cannot be read is an error.
  const first = await pages.next();
  return { status: 200, contentType: 'application/jsonl', body: startingWith(first, pages) };
}

async function* startingWith(first: IteratorResult<string>, rest: AsyncGenerator<string>): AsyncGenerator<string> {
  if (first.done === true) return;
  yield first.value;
  yield* rest;
}
