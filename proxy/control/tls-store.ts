/**
 * The certificates of the process, on the control thread: read from files, followed, and handed to the data threads
 * when they change. What cannot be used is reported and counted, and the last good material stays in force.
 *
 * Looks once a second: the kubelet refreshes a mounted Secret by a new `..data` link about once a minute, and a look that
 * follows links sees the swap whatever the file system notifies.
 */
import type { X509Certificate } from 'node:crypto';
import type { Logger } from '../../base/logger.ts';
import type { TlsFiles } from '../config/snapshot.ts';
import {
  nodeCrypto,
  readTlsMaterial,
  TICKET_KEY_BYTES,
  type TlsMaterial,
  tlsFilesId,
  tlsFilesState,
} from '../config/tls-material.ts';

export interface TlsStoreOptions {
  readonly log: Logger;
  /** Material that data threads do not have yet. */
  readonly onChange: (material: TlsMaterial) => void;
  /** Milliseconds between looks. */
  readonly pollMs?: number;
}

/** One certificate as it is shown. */
export interface ShownCertificate {
  readonly subject: string;
  readonly names: string;
  readonly issuer: string;
  readonly notBefore: string;
  readonly notAfter: string;
  readonly fingerprint: string;
}

export interface ShownMaterial {
  readonly files: TlsFiles;
  readonly loadedAt: string;
  /** Why the files as they are now are not used; null when they are. */
  readonly refused: string | null;
  /** The certificate shown to peers; null without one. */
  readonly certificate: ShownCertificate | null;
}

interface Entry {
  readonly files: TlsFiles;
  material: TlsMaterial;
  state: string;
  loadedAt: Date;
  certificate: X509Certificate | null;
  refused: string | null;
}

const DEFAULT_POLL_MS = 1000;

export class TlsStore {
  /** Changes of files taken over, and those that could not be used. */
  reloads = 0;
  failedReloads = 0;
  private readonly options: TlsStoreOptions;
  private readonly entries = new Map<string, Entry>();
  private timer: NodeJS.Timeout | null = null;

  constructor(options: TlsStoreOptions) {
    this.options = options;
  }

  start(): void {
    this.timer = setInterval(() => this.look(), this.options.pollMs ?? DEFAULT_POLL_MS).unref();
  }

  close(): void {
    if (this.timer !== null) clearInterval(this.timer);
    this.timer = null;
  }

  /** Follows these sets of files from now on and no others. A set that is new must be usable: throws otherwise. */
  follow(all: readonly TlsFiles[]): void {
    const wanted = new Set(all.map(tlsFilesId));
    for (const id of this.entries.keys()) if (!wanted.has(id)) this.entries.delete(id);
    for (const files of all) {
      const id = tlsFilesId(files);
      if (this.entries.has(id)) continue;
      const state = tlsFilesState(files);
      const material = readTlsMaterial(files, nodeCrypto().randomBytes(TICKET_KEY_BYTES));
      const certificate = certificateOf(material);
      this.entries.set(id, { files, material, state, loadedAt: new Date(), certificate, refused: null });
      this.options.onChange(material);
    }
  }

  /** The material in force of one set of files that is followed; undefined for others. */
  materialOf(files: TlsFiles): TlsMaterial | undefined {
    return this.entries.get(tlsFilesId(files))?.material;
  }

  /** Everything a data thread needs to begin with. */
  get materials(): readonly TlsMaterial[] {
    return [...this.entries.values()].map((entry) => entry.material);
  }

  describe(): readonly ShownMaterial[] {
    return [...this.entries.values()].map(({ files, loadedAt, refused, certificate }) => ({
      files,
      loadedAt: loadedAt.toISOString(),
      refused,
      certificate: certificate === null ? null : shown(certificate),
    }));
  }

  /** When each certificate shown to peers ends, seconds since 1970, by its file. */
  expiries(): { readonly file: string; readonly seconds: number }[] {
    const rows = [];
    for (const { files, certificate } of this.entries.values()) {
      if (certificate !== null) rows.push({ file: files.certFile, seconds: Date.parse(certificate.validTo) / 1000 });
    }
    return rows;
  }

  /** Compares all files with those last read and takes over what has changed and can be used. */
  look(): void {
    for (const entry of this.entries.values()) this.lookAt(entry);
  }

  private lookAt(entry: Entry): void {
    const { log, onChange } = this.options;
    const { files } = entry;
    try {
      const state = tlsFilesState(files);
      if (state === entry.state) return;
      const next = readTlsMaterial(files, nodeCrypto().randomBytes(TICKET_KEY_BYTES));
      // Stamped before reading: a change in between is seen at the next look.
      entry.state = state;
      entry.refused = null;
      const { material } = entry;
      if (next.cert === material.cert && next.key === material.key && next.ca === material.ca) return;
      entry.material = next;
      entry.certificate = certificateOf(next);
      entry.loadedAt = new Date();
      this.reloads++;
      onChange(next);
      log.info('certificate_reloaded', { file: files.certFile || files.caFile, expires: entry.certificate?.validTo });
    } catch (error) {
      // Told once for each reason: the files may be half way through a swap, and are looked at again.
      const refused = (error as Error).message;
      if (entry.refused === refused) return;
      entry.refused = refused;
      this.failedReloads++;
      log.warn('certificate_kept', { file: files.certFile || files.caFile, error });
    }
  }
}

function certificateOf(material: TlsMaterial): X509Certificate | null {
  return material.cert === '' ? null : new (nodeCrypto().X509Certificate)(material.cert);
}

function shown(certificate: X509Certificate): ShownCertificate {
  return {
    subject: certificate.subject,
    names: certificate.subjectAltName ?? '',
    issuer: certificate.issuer,
    notBefore: new Date(certificate.validFrom).toISOString(),
    notAfter: new Date(certificate.validTo).toISOString(),
    fingerprint: certificate.fingerprint256,
  };
}
