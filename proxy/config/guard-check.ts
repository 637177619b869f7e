/** Checks the document's rate limits and faults and says whom each is for. */
import { httpStatusFor } from '../../base/grpc-status.ts';
import type { Allocate } from './allocation.ts';
import type { ConfigDocument } from './document-fields.ts';
import type { FaultSnapshot, GuardSubject, RateLimitSnapshot } from './guard-snapshot.ts';
import type { ProblemList } from './problem.ts';

type Keys = { readonly listener?: string | null; readonly route: string | null; readonly model: string | null };

export interface GuardDrafts {
  readonly rateLimits: readonly Omit<RateLimitSnapshot, 'place'>[];
  readonly faults: readonly Omit<FaultSnapshot, 'place'>[];
}

/** Every limit and fault. `models` are the names that have a policy. Mistakes go to `problems`. */
export function checkGuards(document: ConfigDocument, models: ReadonlySet<string>, problems: ProblemList): GuardDrafts {
  const names = new Map<string, string>();
  const routes = new Set(document.routes.map((route) => route.name));
  const subjects = new Set<string>();
  const subject = (keys: Keys & { readonly name: string }, path: string): GuardSubject => {
    const known = names.get(keys.name);
    if (known !== undefined && keys.name !== '') {
      problems.add(`${path}.name`, keys.name, 'a name no other limit or fault has', `${known} has it`);
    }
    names.set(keys.name, path);
    const listener = keys.listener ?? null;
    const all = [listener, keys.route, keys.model].filter((key) => key !== null);
    if (all.length !== 1 && !problems.covers(path)) {
      const keysThere = keys.listener === undefined ? 'route and model' : 'listener, route and model';
      problems.add(path, undefined, `exactly one of the keys ${keysThere}`);
    }
    if (keys.route !== null && !routes.has(keys.route)) {
      problems.add(`${path}.route`, keys.route, 'the name of a route');
    }
    if (keys.model !== null && !models.has(keys.model)) {
      problems.add(`${path}.model`, keys.model, 'the name of a configured model');
    }
    const kind = listener !== null ? 'listener' : keys.route !== null ? 'route' : 'model';
    const name = listener ?? keys.route ?? keys.model ?? '';
    const key = `${path.slice(0, path.indexOf('['))} ${kind} ${name}`;
    if (subjects.has(key) && name !== '') problems.add(path, name, `one entry for each ${kind}`);
    subjects.add(key);
    return { kind, name };
  };
  return {
    rateLimits: document.rateLimits.map((limit, i) => ({
      name: limit.name,
      subject: subject(limit, `rateLimits[${i}]`),
      ratePerMs: limit.requests / limit.interval,
      burst: limit.burst ?? limit.requests,
      enabledHundredths: limit.enabled,
      enforcedHundredths: limit.enforced,
    })),
    faults: document.faults.map((fault, i) => {
      const path = `faults[${i}]`;
      if (fault.delay === null && fault.abort === null && !problems.covers(path)) {
        problems.add(path, undefined, 'at least one of the keys delay and abort');
      }
      if (fault.httpStatus !== null && fault.abort === null) {
        problems.add(`${path}.httpStatus`, String(fault.httpStatus), 'the key abort with it');
      }
      return {
        name: fault.name,
        subject: subject(fault, path),
        header: fault.header?.name ?? '',
        headerValue: fault.header?.value ?? null,
        percentHundredths: fault.percent,
        delayMs: fault.delay ?? 0,
        abortStatus: fault.abort ?? 0,
        abortHttpStatus: fault.httpStatus ?? (fault.abort === null ? 0 : httpStatusFor(fault.abort)),
      };
    }),
  };
}

/** Gives each its place in shared memory. */
export function placeGuards(drafts: GuardDrafts, allocate: Allocate) {
  return {
    rateLimits: drafts.rateLimits.map((limit) => ({ ...limit, place: allocate('guard', limit.name, [limit.name]) })),
    faults: drafts.faults.map((fault) => ({ ...fault, place: allocate('guard', fault.name, [fault.name]) })),
  };
}
