/** Methods that mean something to framing or to retries (RFC 9110, section 9). Others are tokens we pass on. */

export const Method = {
  OTHER: 0,
  GET: 1,
  HEAD: 2,
  POST: 3,
  PUT: 4,
  DELETE: 5,
  CONNECT: 6,
  OPTIONS: 7,
  TRACE: 8,
  PATCH: 9,
} as const;

const CODES: ReadonlyMap<string, number> = new Map(Object.entries(Method).filter(([name]) => name !== 'OTHER'));

export function methodCode(method: string): number {
  return CODES.get(method) ?? Method.OTHER;
}

/** Whether sending the request twice is the same as once (RFC 9110, section 9.2.2). */
export function isIdempotent(method: number): boolean {
  switch (method) {
    case Method.GET:
    case Method.HEAD:
    case Method.PUT:
    case Method.DELETE:
    case Method.OPTIONS:
    case Method.TRACE:
      return true;
    default:
      return false;
  }
}

/** Whether a request of this method without a body says so (RFC 9110, section 8.6). */
export function anticipatesBody(method: number): boolean {
  return method === Method.POST || method === Method.PUT || method === Method.PATCH;
}
