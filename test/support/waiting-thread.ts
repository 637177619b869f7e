/**
 * An execution thread for tests whose core is taken by others while it loads: by the clock loading takes ten seconds more than
 * it works. Loading is the first that reads the clock here, twice; from the second reading on it is later.
 */
const WAITED_MS = 10_000;

const now = performance.now.bind(performance);
let readings = 0;
performance.now = () => now() + (readings++ === 0 ? 0 : WAITED_MS);

await import('../../inference-worker/session/execution-thread.ts');
