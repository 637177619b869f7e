/** Holds this thread up for as long, milliseconds, as a large copy or a collection does. */
export function holdUp(ms: number): void {
  for (const end = performance.now() + ms; performance.now() < end; );
}
