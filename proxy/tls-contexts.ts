/**
 * TLS as one data thread uses it: the contexts made of the material the control thread sends, and the roles built on
 * them. A role keeps its identity while its context is replaced under it, so pools and listeners hold on to it.
 */
import type { SecureContext } from 'node:tls';
import type { TlsClientRole, TlsServerRole } from '../proto/io/tls.ts';
import type { TlsOrigination } from './config/snapshot.ts';
import { type TlsMaterial, type TlsMinVersion, tlsContext, tlsFilesId } from './config/tls-material.ts';

/** What listeners ask of their callers; the same over all of them. */
export interface TlsServerPolicy {
  readonly filesId: string;
  readonly clientCertificate: 'off' | 'optional' | 'required';
  readonly clientNames: readonly string[];
  readonly handshakeTimeoutMs: number;
}

export class TlsContexts {
  private readonly minVersion: TlsMinVersion;
  private readonly upstreamCounters: Float64Array;
  private readonly contexts = new Map<string, SecureContext>();

  constructor(minVersion: TlsMinVersion, materials: readonly TlsMaterial[], upstreamCounters: Float64Array) {
    this.minVersion = minVersion;
    this.upstreamCounters = upstreamCounters;
    for (const material of materials) this.set(material);
  }

  /** New material: connections made from now on use it. */
  set(material: TlsMaterial): void {
    this.contexts.set(material.id, tlsContext(material, this.minVersion));
  }

  serverRole(policy: TlsServerPolicy): TlsServerRole {
    const contextOf = () => this.contexts.get(policy.filesId)!;
    const { clientCertificate, clientNames, handshakeTimeoutMs } = policy;
    return {
      get context() {
        return contextOf();
      },
      clientCertificate,
      clientNames,
      handshakeTimeoutMs,
    };
  }

  clientRole(tls: TlsOrigination): TlsClientRole {
    const id = tlsFilesId(tls.files);
    const contextOf = () => this.contexts.get(id)!;
    return {
      get context() {
        return contextOf();
      },
      serverName: tls.serverName,
      peerNames: tls.peerNames,
      onHandshake: (result) => {
        this.upstreamCounters[result]! += 1;
      },
    };
  }
}
