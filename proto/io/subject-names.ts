/**
 * Who a certificate says its owner is, and whether that is somebody we expect: exact names only, without wildcards,
 * because they decide who may call or be called. A SPIFFE identity is a URI name, and a certificate that carries one
 * has no other URI (X.509-SVID, section 2): with two, nobody could tell which of them speaks.
 */

/** Subject alternative names of one certificate by kind. */
export interface SubjectNames {
  readonly dns: readonly string[];
  readonly uris: readonly string[];
  readonly addresses: readonly string[];
}

const SPIFFE = 'spiffe://';

/**
 * Reads the text Node makes of the extension: `DNS:a.example, URI:spiffe://b/c, IP Address:10.0.0.1`, where a name with
 * unusual characters is written as a JSON string. What cannot be read names nobody.
 */
export function parseSubjectNames(text: string | undefined): SubjectNames {
  const names = { dns: [] as string[], uris: [] as string[], addresses: [] as string[] };
  if (text === undefined) return names;
  for (const entry of splitEntries(text)) {
    const colon = entry.indexOf(':');
    const value = unquote(entry.slice(colon + 1));
    if (colon < 0 || value === null) continue;
    const kind = entry.slice(0, colon);
    if (kind === 'DNS') names.dns.push(value.toLowerCase());
    else if (kind === 'URI') names.uris.push(value);
    else if (kind === 'IP Address') names.addresses.push(value);
  }
  return names;
}

/** Whether one of the expected names is among a certificate's. */
export function namesOneOf(names: SubjectNames, expected: readonly string[]): boolean {
  return expected.some((name) => {
    if (name.startsWith(SPIFFE)) return names.uris.length === 1 && names.uris[0] === name;
    if (name.includes('://')) return names.uris.includes(name);
    return names.dns.includes(name.toLowerCase()) || names.addresses.includes(name);
  });
}

/** Cuts at `, ` outside of quotes. */
function splitEntries(text: string): string[] {
  const entries: string[] = [];
  let start = 0;
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const character = text[i]!;
    if (quoted && character === '\\') i++;
    else if (character === '"') quoted = !quoted;
    else if (!quoted && character === ',' && text[i + 1] === ' ') {
      entries.push(text.slice(start, i));
      start = i + 2;
    }
  }
  entries.push(text.slice(start));
  return entries;
}

function unquote(text: string): string | null {
  if (!text.startsWith('"')) return text;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'string' ? value : null;
  } catch {
    return null;
  }
}
