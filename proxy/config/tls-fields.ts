/** The settings of TLS: of listeners in the environment, of clusters in the document. */
import { list, optionalObject, scalar } from './document-schema.ts';
import type { Field } from './field.ts';

const MODES = ['off', 'permissive', 'strict'] as const;

export const TLS_PROCESS_FIELDS = {
  outboundTls: {
    environment: 'UNDERSTUDY_OUTBOUND_TLS',
    kind: 'choice',
    choices: MODES,
    default: 'off',
    reason:
      'Whether callers that dial the outbound listener itself may (permissive) or must (strict) speak TLS with it; both kinds share a port. Off, because the application calls over loopback. Redirected TLS sessions pass through in any case.',
    reloadable: false,
  },
  inboundTls: {
    environment: 'UNDERSTUDY_INBOUND_TLS',
    kind: 'choice',
    choices: MODES,
    default: 'off',
    reason:
      'The same for callers of the pod, redirected ones included. Permissive while callers are moved to TLS one by one, strict afterwards.',
    reloadable: false,
  },
  tlsCertFile: {
    environment: 'UNDERSTUDY_TLS_CERT_FILE',
    kind: 'text',
    default: null,
    unset: 'no listener speaks TLS',
    reason:
      "PEM file of the listeners' certificate and its chain. Files are looked at every second, and a change concerns new connections only; one that cannot be used leaves the last good one in force.",
    reloadable: false,
  },
  tlsKeyFile: {
    environment: 'UNDERSTUDY_TLS_KEY_FILE',
    kind: 'text',
    default: null,
    unset: 'no listener speaks TLS',
    reason: 'PEM file of its private key.',
    reloadable: false,
  },
  tlsCaFile: {
    environment: 'UNDERSTUDY_TLS_CA_FILE',
    kind: 'text',
    default: null,
    unset: 'callers show no certificate',
    reason: "PEM file of the authorities that may sign callers' certificates.",
    reloadable: false,
  },
  tlsClientCertificate: {
    environment: 'UNDERSTUDY_TLS_CLIENT_CERTIFICATE',
    kind: 'choice',
    choices: ['off', 'optional', 'required'],
    default: 'off',
    reason:
      'Whether callers are asked for a certificate, and refused without one. A certificate that is shown must be good.',
    reloadable: false,
  },
  tlsClientNames: {
    environment: 'UNDERSTUDY_TLS_CLIENT_NAMES',
    kind: 'subjectNames',
    default: null,
    unset: 'any name',
    reason:
      "Names of which a caller's certificate must carry one. Exact, for they decide who may call; spiffe:// URIs included.",
    reloadable: false,
  },
  tlsMinVersion: {
    environment: 'UNDERSTUDY_TLS_MIN_VERSION',
    kind: 'choice',
    choices: ['1.2', '1.3'],
    default: '1.2',
    reason: 'Oldest version of TLS spoken with callers and upstreams. Older ones than 1.2 are broken (RFC 8996).',
    reloadable: false,
  },
  tlsHandshakeTimeoutMs: {
    environment: 'UNDERSTUDY_TLS_HANDSHAKE_TIMEOUT',
    kind: 'duration',
    default: '10s',
    min: 10,
    max: 60_000,
    reason:
      "How long a caller's handshake may take. Long enough for a lossy link; handshakes with upstreams have the connect timeout.",
    reloadable: false,
  },
  tlsMaxHandshakes: {
    environment: 'UNDERSTUDY_TLS_MAX_HANDSHAKES',
    kind: 'integer',
    default: '512',
    min: 1,
    max: 100_000,
    reason:
      'Handshakes each data thread has in progress at once; above it connections are closed and counted. A handshake costs about a millisecond of CPU, so this bounds what a flood of them delays.',
    reloadable: false,
  },
} as const satisfies Record<string, Field & { readonly environment: string }>;

export const clusterTls = optionalObject('TLS to the endpoints. Without it they are spoken to in the clear.', {
  serverName: scalar({
    kind: 'subjectName',
    default: null,
    unset: "the endpoint's host",
    reason: 'Sent as SNI, and expected in the certificate.',
  }),
  names: list(
    'Names of which the certificate must carry one, instead of serverName; exact, spiffe:// URIs included.',
    16,
    scalar({ kind: 'subjectName', default: null, required: true, reason: 'A name.' }),
  ),
  caFile: scalar({
    kind: 'text',
    default: null,
    unset: 'the authorities that Node comes with',
    reason: 'PEM file of the authorities that may sign the certificate. Followed like the files of listeners.',
  }),
  certFile: scalar({
    kind: 'text',
    default: null,
    unset: 'no certificate is shown',
    reason: 'PEM file of the certificate shown to endpoints that ask for one; keyFile is then required.',
  }),
  keyFile: scalar({ kind: 'text', default: null, unset: 'no certificate is shown', reason: 'PEM file of its key.' }),
});
