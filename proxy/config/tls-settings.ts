/** Rules between the settings of TLS, and a cluster's own as the snapshot has them. */
import type { ClusterDocument } from './document-fields.ts';
import type { ProblemList } from './problem.ts';
import type { ProcessSettings } from './process-fields.ts';
import type { EndpointAddress, TlsOrigination } from './snapshot.ts';

/** Reports what is missing for the listeners to speak TLS, and what has no effect. */
export function checkTlsSettings(settings: ProcessSettings, problems: ProblemList): void {
  const { outboundTls, inboundTls, tlsCertFile, tlsKeyFile, tlsCaFile, tlsClientCertificate, tlsClientNames } =
    settings;
  if (outboundTls !== 'off' || inboundTls !== 'off') {
    const hint = 'a listener speaks TLS';
    if (tlsCertFile === null) problems.add('UNDERSTUDY_TLS_CERT_FILE', undefined, 'the path of a PEM file', hint);
    if (tlsKeyFile === null) problems.add('UNDERSTUDY_TLS_KEY_FILE', undefined, 'the path of a PEM file', hint);
  }
  if (tlsClientCertificate !== 'off' && tlsCaFile === null) {
    const hint = 'callers are asked for certificates, and somebody must be trusted to sign them';
    problems.add('UNDERSTUDY_TLS_CA_FILE', undefined, 'the path of a PEM file', hint);
  }
  if (tlsClientNames !== null && tlsClientCertificate !== 'required') {
    const hint = 'a caller without a certificate has no name';
    problems.add('UNDERSTUDY_TLS_CLIENT_NAMES', undefined, 'UNDERSTUDY_TLS_CLIENT_CERTIFICATE=required', hint);
  }
}

/** A declared cluster's TLS; null where it speaks in the clear. */
export function tlsOrigination(
  cluster: ClusterDocument,
  endpoints: readonly EndpointAddress[],
  path: string,
  problems: ProblemList,
): TlsOrigination | null {
  const { tls } = cluster;
  if (tls === null) return null;
  if ((tls.certFile === null) !== (tls.keyFile === null)) {
    const missing = tls.certFile === null ? 'certFile' : 'keyFile';
    problems.add(`${path}.tls.${missing}`, undefined, 'a path, since certificate and key belong together');
  }
  const named = tls.serverName !== null || tls.names.length > 0;
  if (!named && endpoints.some((endpoint) => endpoint.kind === 'unix')) {
    problems.add(`${path}.tls.serverName`, undefined, 'a name, since a Unix socket has none to expect');
  }
  if (!named && cluster.discovery === 'addresses' && endpoints.length > 1) {
    const hint = 'with discovery by addresses the names of several endpoints are not told apart';
    problems.add(`${path}.tls.serverName`, undefined, 'a name', hint);
  }
  return {
    serverName: tls.serverName ?? '',
    peerNames: tls.names,
    files: { certFile: tls.certFile ?? '', keyFile: tls.keyFile ?? '', caFile: tls.caFile ?? '' },
  };
}
