/** Compiles an environment and a document, as a start of the proxy would. */
import type { Test } from 'tap';
import { type Allocate, NameAllocator } from '../../../../proxy/config/allocation.ts';
import { compileMesh, EMPTY_DOCUMENT } from '../../../../proxy/config/compile.ts';
import { parseDocument } from '../../../../proxy/config/document.ts';
import { parseEnvironment } from '../../../../proxy/config/env.ts';
import { formatProblem, ProblemList } from '../../../../proxy/config/problem.ts';
import type { MeshSnapshot, ModelSnapshot } from '../../../../proxy/config/snapshot.ts';

export interface Attempt {
  readonly mesh: MeshSnapshot | null;
  readonly mistakes: string[];
}

/** The mesh, or every mistake. */
export function compile(
  env: Record<string, string>,
  text?: string,
  allocate: Allocate = new NameAllocator().allocate,
): Attempt {
  const problems = new ProblemList();
  const environment = parseEnvironment(env, problems);
  const document = text === undefined ? EMPTY_DOCUMENT : (parseDocument(text, problems) ?? EMPTY_DOCUMENT);
  const mesh = compileMesh(environment, document, allocate, 7, problems);
  return { mesh, mistakes: problems.problems.map(formatProblem) };
}

/** The mesh of what must have no mistake. */
export function good(t: Test, env: Record<string, string>, text?: string): MeshSnapshot {
  const { mesh, mistakes } = compile(env, text);
  t.same(mistakes, []);
  return mesh!;
}

/** The clusters that a part of a model names, in its order. */
export function clusterNames(
  mesh: MeshSnapshot,
  model: ModelSnapshot,
  part: 'split' | 'shadows' | 'fallbacks',
): string[] {
  return model[part].map((step) => mesh.clusters[step.cluster]!.name);
}

/** A model in shorthand: a primary, a canary that is shadowed as well, and a fallback. */
export const CREDIT_RISK = {
  UNDERSTUDY_MODEL_CREDIT_RISK_PRIMARY: 'credit-risk@1',
  UNDERSTUDY_MODEL_CREDIT_RISK_SHADOW: 'credit-risk@2 100%',
  UNDERSTUDY_MODEL_CREDIT_RISK_CANARY: 'credit-risk@2 5%',
  UNDERSTUDY_MODEL_CREDIT_RISK_FALLBACK: 'credit-risk-lite',
};
