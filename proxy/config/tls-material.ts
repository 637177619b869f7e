/**
 * Certificates, keys and authorities as they lie in files, read together and found usable together: a swap caught half
 * way does not fit and is not used. Plain data, so that it can be sent to the data threads.
 */
import { readFileSync, statSync } from 'node:fs';
import type { SecureContext } from 'node:tls';
import type { ProblemList } from './problem.ts';
import type { ProcessSettings } from './process-fields.ts';
import type { MeshSnapshot, TlsFiles } from './snapshot.ts';

/** No chain we expect comes near it. */
const MAX_FILE_BYTES = 1024 * 1024;
/** Marks our sessions. Their ticket keys, made anew with each change of the files, say which are still good. */
const SESSION_ID_CONTEXT = 'understudy';
/** Bytes of a server's session ticket keys, as node:tls takes them. */
export const TICKET_KEY_BYTES = 48;

/** Loaded with the first certificate: crypto and TLS cost a thread 5 MiB. */
export function nodeCrypto(): typeof import('node:crypto') {
  return process.getBuiltinModule('node:crypto');
}

export interface TlsMaterial {
  readonly id: string;
  /** PEM texts; '' for none. */
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
  /** Shared by all data threads, so that a session may be resumed with any; made anew with each change of the files. */
  readonly ticketKeys: Uint8Array;
}

export type TlsMinVersion = '1.2' | '1.3';

/** Where the same files lie, the same material is used. */
export function tlsFilesId(files: TlsFiles): string {
  return JSON.stringify([files.certFile, files.keyFile, files.caFile]);
}

/** The listeners' files; null when no listener speaks TLS. */
export function listenerTlsFiles(settings: ProcessSettings): TlsFiles | null {
  const { tlsCertFile, tlsKeyFile, tlsCaFile } = settings;
  if (settings.outboundTls === 'off' && settings.inboundTls === 'off') return null;
  return { certFile: tlsCertFile ?? '', keyFile: tlsKeyFile ?? '', caFile: tlsCaFile ?? '' };
}

/** Every set of files a configuration names, each once. */
export function tlsFilesOf(settings: ProcessSettings, mesh: MeshSnapshot): TlsFiles[] {
  const all = new Map<string, TlsFiles>();
  const own = listenerTlsFiles(settings);
  if (own !== null) all.set(tlsFilesId(own), own);
  for (const { tls } of mesh.clusters) if (tls !== null) all.set(tlsFilesId(tls.files), tls.files);
  return [...all.values()];
}

/** Reads the files of one set. Throws a sentence where one cannot be read or used, or cert and key do not fit. */
export function readTlsMaterial(files: TlsFiles, ticketKeys: Uint8Array): TlsMaterial {
  const material = {
    id: tlsFilesId(files),
    cert: readBounded(files.certFile),
    key: readBounded(files.keyFile),
    ca: readBounded(files.caFile),
    ticketKeys,
  };
  if (files.caFile !== '' && !material.ca.includes('-----BEGIN '))
    throw new Error(`${files.caFile} holds no certificate`);
  if (material.cert !== '') new (nodeCrypto().X509Certificate)(material.cert);
  tlsContext(material, '1.2');
  return material;
}

/** The context of node:tls. Throws where the material cannot be used. */
export function tlsContext(material: TlsMaterial, minVersion: TlsMinVersion): SecureContext {
  const { cert, key, ca, ticketKeys } = material;
  return process.getBuiltinModule('node:tls').createSecureContext({
    ...(cert !== '' && { cert, key, ticketKeys: Buffer.from(ticketKeys) }),
    ...(ca !== '' && { ca }),
    minVersion: `TLSv${minVersion}`,
    // Without one, a caller that was asked for its certificate cannot resume: the handshake fails.
    sessionIdContext: SESSION_ID_CONTEXT,
  });
}

/** What shows that one of the files was written or replaced: links are followed, so a swap of `..data` is seen. */
export function tlsFilesState(files: TlsFiles): string {
  return [files.certFile, files.keyFile, files.caFile]
    .filter((path) => path !== '')
    .map((path) => {
      const { dev, ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true });
      return `${dev}:${ino}:${size}:${mtimeNs}:${ctimeNs}`;
    })
    .join(' ');
}

/** Reports every set of files that cannot be used now: a start, or an edit, that would serve nobody. */
export function checkTlsFiles(settings: ProcessSettings, mesh: MeshSnapshot, problems: ProblemList): void {
  const ticketKeys = new Uint8Array(TICKET_KEY_BYTES);
  const own = listenerTlsFiles(settings);
  const ownId = own === null ? '' : tlsFilesId(own);
  for (const files of tlsFilesOf(settings, mesh)) {
    try {
      readTlsMaterial(files, ticketKeys);
    } catch (error) {
      const users = mesh.clusters.filter(({ tls }) => tls !== null && tlsFilesId(tls.files) === tlsFilesId(files));
      const path = tlsFilesId(files) === ownId ? 'UNDERSTUDY_TLS_CERT_FILE' : `clusters (${users[0]!.name}).tls`;
      const names = [files.certFile, files.keyFile, files.caFile].filter((name) => name !== '').join(', ');
      problems.add(path, names, 'readable PEM files that belong together', (error as Error).message);
    }
  }
}

function readBounded(path: string): string {
  if (path === '') return '';
  const { size } = statSync(path);
  if (size > MAX_FILE_BYTES) throw new Error(`${path} has ${size} bytes, more than ${MAX_FILE_BYTES}`);
  return readFileSync(path, 'utf8');
}
