/** A small parser of Prometheus' text format, written from its description and sharing nothing with what writes it. */

export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: string;
  readonly samples: Sample[];
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', '\\': '\\', '"': '"' };

/** Families by name, in order; throws on anything the format does not allow. */
export function parseExposition(text: string): Map<string, Family> {
  const families = new Map<string, Family>();
  if (!text.endsWith('\n')) throw new Error('the last line must end');
  let help: { name: string; text: string } | null = null;
  let family: Family | null = null;
  for (const line of text.split('\n')) {
    if (line === '') continue;
    const [, keyword, name, rest] = /^# (HELP|TYPE) ([a-zA-Z_:][\w:]*) (.*)$/.exec(line) ?? [];
    if (keyword === 'HELP') help = { name: name!, text: rest! };
    else if (keyword === 'TYPE') {
      if (families.has(name!)) throw new Error(`${name} twice`);
      if (help?.name !== name) throw new Error(`${name} has no help`);
      family = { name: name!, help: help!.text, type: rest!, samples: [] };
      families.set(name!, family);
    } else if (!line.startsWith('#')) {
      const sample = parseSample(line);
      const suffix = family === null ? 'none' : sample.name.slice(family.name.length);
      const allowed = family?.type === 'histogram' ? ['_bucket', '_sum', '_count'] : [''];
      if (!family || !sample.name.startsWith(family.name) || !allowed.includes(suffix))
        throw new Error(`stray ${line}`);
      family.samples.push(sample);
    }
  }
  return families;
}

function parseSample(line: string): Sample {
  let at = line.search(/[{ ]/);
  const name = line.slice(0, at);
  const labels: Record<string, string> = {};
  if (line[at] === '{') {
    at++;
    while (line[at] !== '}') {
      const equals = line.indexOf('="', at);
      const label = line.slice(at, equals);
      if (!/^[a-zA-Z_]\w*$/.test(label) || label in labels) throw new Error(`bad label in ${line}`);
      let value = '';
      for (at = equals + 2; line[at] !== '"'; at++) {
        if (at >= line.length) throw new Error(`open quote in ${line}`);
        value += line[at] === '\\' ? ESCAPES[line[++at]!]! : line[at]!;
      }
      labels[label] = value;
      at++;
      if (line[at] === ',') at++;
    }
    at++;
  }
  const number = line.slice(at).trim();
  const value = number === '+Inf' ? Number.POSITIVE_INFINITY : Number(number);
  if (number === '' || (Number.isNaN(value) && number.toLowerCase() !== 'nan')) throw new Error(`bad value in ${line}`);
  return { name, labels, value };
}

/** The value of the one sample of a family whose labels include the given ones. */
export function sampleValue(
  families: Map<string, Family>,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number | undefined {
  for (const family of families.values()) {
    const found = family.samples.filter(
      (sample) => sample.name === name && Object.entries(labels).every(([key, value]) => sample.labels[key] === value),
    );
    if (found.length > 1) throw new Error(`${found.length} samples of ${name} match`);
    if (found.length === 1) return found[0]!.value;
  }
  return undefined;
}
