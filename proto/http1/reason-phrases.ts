/** Reason phrases for status lines; nobody reads them but people (RFC 9112, section 4). */
import { STATUS_CODES } from 'node:http';

/** Empty for a status without a registered phrase. */
export function reasonPhrase(status: number): string {
  return STATUS_CODES[status] ?? '';
}
