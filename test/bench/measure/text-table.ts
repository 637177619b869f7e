/** A table of text for a terminal. */

/** Renders rows under `head`; the first two columns and the last are flush left, the others flush right. */
export function renderTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]!.length)));
  const last = head.length - 1;
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) =>
        column < 2 || column === last ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!),
      )
      .join('  ')
      .trimEnd();
  return [line(head), ...rows.map(line)].map((text) => `${text}\n`).join('');
}
