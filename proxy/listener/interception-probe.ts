/**
 * Owns the probe by which `understudy intercept verify` proves that redirected connections arrive with the destination
 * their caller dialled. The probe dials an address reserved for documentation, which no network routes; whoever receives
 * the connection answers with the destination it read. The verifier answers itself when it can listen on the proxy's
 * port, and a running proxy answers in its place when it cannot.
 *
 * Rules for inbound connections see what comes from other machines, which nobody inside the pod can stand in for; so the
 * rules send one further address, dialled from inside, the way that inbound connections go.
 */

/** TEST-NET-1 of RFC 5737 and the documentation prefix of RFC 3849: addresses nobody has. */
export const PROBE_V4 = '192.0.2.2';
export const PROBE_V6 = '2001:db8::2';
/** Their neighbours, which the rules take for inbound connections. */
export const INBOUND_PROBE_V4 = '192.0.2.3';
export const INBOUND_PROBE_V6 = '2001:db8::3';

/** What a receiver writes before it closes: one line that names the destination. */
export function probeAnswer(host: string, port: number): string {
  return `understudy original destination ${host} ${port}\n`;
}

/** Whether a redirected connection is a probe, to be answered with `probeAnswer` and closed. */
export function isProbe(host: string): boolean {
  return host === PROBE_V4 || host === PROBE_V6 || host === INBOUND_PROBE_V4 || host === INBOUND_PROBE_V6;
}
