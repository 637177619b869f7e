/**
 * What the kubelet's probes of a model-server pod come to once the pod's ports are redirected: a TCP probe only reaches the
 * proxy, and where the proxy takes nothing but TLS, no other probe reaches the application either. Warned about, because the
 * pod would look well, or never would, and nothing would say why.
 */
import { readInterceptOptions } from '../../proxy/cli/intercept-options.ts';
import { includesPort } from '../../proxy/cli/intercept-ports.ts';
import type { Container, Probe } from './kubernetes.ts';

const KINDS = ['startupProbe', 'livenessProbe', 'readinessProbe'] as const;
const REMEDY = 'leave the port out with intercept.understudy.dev/exclude-inbound-ports';

/** One warning per container and port. `intercept` is the environment of the interception container, without mistakes. */
export function probeWarnings(
  containers: readonly Container[],
  intercept: Readonly<Record<string, string>>,
  inboundTls: string | undefined,
): string[] {
  const { options } = readInterceptOptions([], intercept);
  if (options === null) return [];
  const warnings = new Set<string>();
  for (const container of containers) {
    for (const kind of KINDS) {
      const target = targetOf(container, container[kind]);
      if (target === null || !includesPort(options.inboundPorts, target.port)) continue;
      if (includesPort(options.excludeInboundPorts, target.port)) continue;
      const what = `container ${container.name}: ${target.protocol === 'HTTP' ? 'an' : 'a'} ${target.protocol} probe of port ${target.port}`;
      if (target.protocol === 'TCP') warnings.add(`${what} reaches the proxy alone and always passes: ${REMEDY}`);
      else if (inboundTls === 'strict') warnings.add(`${what} is refused by a proxy that takes TLS only: ${REMEDY}`);
    }
  }
  return [...warnings];
}

/** Where a probe of the network goes; null for commands, for HTTPS, and for names of ports that the container lacks. */
function targetOf(container: Container, probe: Probe | null | undefined): { protocol: string; port: number } | null {
  const { httpGet, grpc, tcpSocket } = probe ?? {};
  if (httpGet?.scheme === 'HTTPS') return null;
  const protocol = httpGet ? 'HTTP' : grpc ? 'gRPC' : 'TCP';
  const wanted = (httpGet ?? grpc ?? tcpSocket)?.port;
  const ports = Array.isArray(container.ports) ? (container.ports as NonNullable<Container['ports']>) : [];
  const port = typeof wanted === 'string' ? ports.find((each) => each?.name === wanted)?.containerPort : wanted;
  return typeof port === 'number' ? { protocol, port } : null;
}
