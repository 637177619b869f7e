/** A route's fallbacks: the policy of a model that nobody asks for by name, so that one path serves both. */

import type { JsonRule } from './answer-policy.ts';
import type { ClusterDraft, ClusterSet } from './cluster-set.ts';
import { readNode } from './document.ts';
import { type ConfigDocument, DOCUMENT_SCHEMA } from './document-fields.ts';
import { parseJsonPath } from './json-path.ts';
import { type ModelDraft, policyOf } from './model-check.ts';
import { ProblemList } from './problem.ts';

type RouteDocument = ConfigDocument['routes'][number];
type StepDocument = RouteDocument['fallback'][number];
type RuleDocument = StepDocument['adapt'][number];

const ALL_HUNDREDTHS = 10_000;

/** Resolves a cluster that names no model; null where it is reported. */
export type ResolveTarget = (name: string, path: string) => ClusterDraft | null;

/** The policy of a route that has fallbacks or says in its answers who gave them; null of one that only relays. */
export function checkRouteSteps(
  route: RouteDocument,
  primary: ClusterDraft | null,
  clusters: ClusterSet,
  resolve: ResolveTarget,
  path: string,
  problems: ProblemList,
): ModelDraft | null {
  const { fallback, modelVersionField } = route;
  if (fallback.length === 0 && modelVersionField === null) return null;
  const versionOutput = modelVersionField ?? '';
  if (modelVersionField === '' || modelVersionField === '__proto__') {
    problems.add(`${path}.modelVersionField`, modelVersionField, 'the name of a member');
  }
  const fallbacks: ModelDraft['fallbacks'][number][] = [];
  for (const [i, step] of fallback.entries()) {
    const at = `${path}.fallback[${i}]`;
    const local = checkConstant(step, versionOutput, at, problems);
    const cluster =
      local === null
        ? stepCluster(step, resolve, at, problems)
        : clusters.addLocal('static', `route:${route.name}`, i, '');
    const budgetFraction = step.budget === null ? 1 / (fallback.length - i) : step.budget / ALL_HUNDREDTHS;
    const rules = checkRules(step.adapt, `${at}.adapt`, problems);
    if (cluster !== null) fallbacks.push({ cluster, budgetFraction, adapt: null, rules, local });
    if (cluster === primary && cluster !== null)
      problems.add(`${at}.cluster`, cluster.name, "another cluster than the route's");
    else if (cluster !== null && fallbacks.findIndex((other) => other.cluster === cluster) < fallbacks.length - 1) {
      problems.add(`${at}.cluster`, cluster.name, 'each cluster once in this list');
    }
  }
  return {
    split: primary === null ? [] : [{ cluster: primary, weightHundredths: ALL_HUNDREDTHS }],
    shadows: [],
    fallbacks,
    pins: [],
    degradation: null,
    rest: {
      ...blankPolicy(route.name, fallback.length > 0),
      maxReplayBytes: route.maxReplaySize,
      versionOutput,
      isRoute: true,
    },
  };
}

function blankPolicy(name: string, hasFallback: boolean): ModelDraft['rest'] {
  const blank = readNode(DOCUMENT_SCHEMA.fields.models.item, new Map([['name', name]]), '', new ProblemList());
  const policy = policyOf({ model: blank, path: '', at: (part) => part }, new ProblemList());
  return hasFallback ? { ...policy, primaryBudgetFraction: 0.8 } : policy;
}

function stepCluster(
  step: StepDocument,
  resolve: ResolveTarget,
  at: string,
  problems: ProblemList,
): ClusterDraft | null {
  if (problems.covers(`${at}.cluster`)) return null;
  if (step.cluster !== null) return resolve(step.cluster, at);
  problems.add(at, undefined, 'exactly one of the keys cluster and static');
  return null;
}

function checkConstant(
  step: StepDocument,
  versionField: string,
  at: string,
  problems: ProblemList,
): ModelDraft['fallbacks'][number]['local'] {
  if (step.static === null) return null;
  const { json } = step.static;
  if (step.cluster !== null) problems.add(at, undefined, 'exactly one of the keys cluster and static');
  if (step.adapt.length > 0) problems.add(`${at}.adapt`, undefined, 'nothing, since the answer is written here');
  const value = parsed(json);
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  const expected = versionField === '' ? 'a JSON document' : 'a JSON object, since a member is added to it';
  if ((value === undefined || (versionField !== '' && !isObject)) && !problems.covers(`${at}.static`)) {
    problems.add(`${at}.static.json`, json, expected);
  }
  return { kind: 'static', document: json, outputs: [], cases: [] };
}

function checkRules(rules: readonly RuleDocument[], path: string, problems: ProblemList): JsonRule[] {
  return rules.map((rule, i) => {
    const at = `${path}[${i}]`;
    const steps = parseJsonPath(rule.path);
    if (steps === null && !problems.covers(`${at}.path`)) {
      problems.add(
        `${at}.path`,
        rule.path,
        'keys with dots between them and [] behind those of lists, such as results[].text',
      );
    }
    const first = rules.findIndex((other) => other.path === rule.path);
    if (first < i && rule.path !== '')
      problems.add(`${at}.path`, rule.path, `a path that ${path}[${first}] does not have`);
    checkRule(rule, steps?.at(-1)?.each === true, at, problems);
    const fill = rule.fill === null ? null : parsed(rule.fill) === undefined ? JSON.stringify(rule.fill) : rule.fill;
    return { path: steps ?? [], from: rule.from ?? '', cast: rule.cast, fill, drop: rule.drop };
  });
}

function checkRule({ from, cast, fill, drop }: RuleDocument, isEach: boolean, at: string, problems: ProblemList): void {
  const changes = from !== null || cast !== 'none' || fill !== null;
  if (drop && changes) problems.add(at, undefined, 'no from, cast and fill, since the value is dropped');
  if (!drop && !changes) problems.add(at, undefined, 'at least one of the keys from, cast, fill and drop');
  if (isEach && (drop || from !== null))
    problems.add(at, undefined, 'cast and fill only, since the path ends in elements of a list');
  if (from !== null && (parseJsonPath(from)?.length !== 1 || from.endsWith('[]'))) {
    problems.add(`${at}.from`, from, 'one key, beside the last of the path');
  }
}

/** The JSON value of a text; undefined where it is none. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
