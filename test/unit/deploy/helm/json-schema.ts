/** Judges a value by the part of JSON Schema draft 7 that the chart's schema uses; other keywords are an error. */

type Schema = Readonly<Record<string, unknown>>;

const KNOWN = new Set(
  '$schema title description type properties additionalProperties propertyNames required items enum pattern minimum maximum minLength'.split(
    ' ',
  ),
);

/** Every violation, each with the path of the value. */
export function violations(schema: Schema, value: unknown, path = '$'): string[] {
  const found: string[] = [];
  for (const keyword of Object.keys(schema))
    if (!KNOWN.has(keyword)) throw new Error(`${path}: keyword ${keyword} is not judged here`);
  const types = ([] as unknown[]).concat(schema['type'] ?? []);
  if (types.length > 0 && !types.some((type) => isOfType(value, type as string)))
    return [`${path}: not ${types.join(' or ')}`];
  if (Array.isArray(schema['enum']) && !schema['enum'].includes(value))
    found.push(`${path}: not one of ${schema['enum']}`);
  if (typeof value === 'string') {
    if (typeof schema['pattern'] === 'string' && !new RegExp(schema['pattern']).test(value))
      found.push(`${path}: not ${schema['pattern']}`);
    if (value.length < Number(schema['minLength'] ?? 0)) found.push(`${path}: too short`);
  }
  if (typeof value === 'number') {
    const { minimum = Number.NEGATIVE_INFINITY, maximum = Number.POSITIVE_INFINITY } = schema as {
      minimum?: number;
      maximum?: number;
    };
    if (value < minimum || value > maximum) found.push(`${path}: not from ${minimum} to ${maximum}`);
  }
  if (Array.isArray(value) && schema['items'] !== undefined) {
    for (const [i, item] of value.entries())
      found.push(...violations(schema['items'] as Schema, item, `${path}[${i}]`));
  } else if (isOfType(value, 'object')) found.push(...ofObject(schema, value as Record<string, unknown>, path));
  return found;
}

function ofObject(schema: Schema, value: Record<string, unknown>, path: string): string[] {
  const found: string[] = [];
  const properties = (schema['properties'] ?? {}) as Record<string, Schema>;
  const rest = schema['additionalProperties'] as Schema | boolean | undefined;
  for (const name of (schema['required'] ?? []) as string[])
    if (!Object.hasOwn(value, name)) found.push(`${path}.${name}: missing`);
  for (const [name, item] of Object.entries(value)) {
    if (schema['propertyNames'] !== undefined)
      found.push(...violations(schema['propertyNames'] as Schema, name, `${path}.${name}`));
    if (Object.hasOwn(properties, name)) found.push(...violations(properties[name]!, item, `${path}.${name}`));
    else if (rest === false) found.push(`${path}.${name}: unknown`);
    else if (typeof rest === 'object') found.push(...violations(rest, item, `${path}.${name}`));
  }
  return found;
}

function isOfType(value: unknown, type: string): boolean {
  if (type === 'array') return Array.isArray(value);
  if (type === 'integer') return Number.isInteger(value);
  if (type === 'object') return typeof value === 'object' && value !== null && !Array.isArray(value);
  return type === (value === null ? 'null' : typeof value);
}
