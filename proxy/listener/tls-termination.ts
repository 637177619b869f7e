/**
 * TLS sessions of callers that end at a listener: who may begin one, how many handshakes go on at once, and how each of
 * them ended. The certificate in force is read at each handshake, so a new one concerns new connections only.
 */
import type { ByteSocket } from '../../proto/io/byte-socket.ts';
import { acceptTls, type TlsServerObserver, type TlsServerRole } from '../../proto/io/tls.ts';
import { TlsResult } from '../../proto/io/tls-result.ts';

export interface TlsTerminationOptions {
  /** `strict` refuses callers without TLS, `permissive` serves both on one port. */
  readonly mode: 'permissive' | 'strict';
  /** The role in force now. */
  readonly role: () => TlsServerRole;
  /** Handshakes of this thread in progress at once; above it connections are closed and counted. */
  readonly maxHandshakes: number;
  /** Counted here by `TlsResult`. */
  readonly counters: Float64Array;
}

export class TlsTermination {
  readonly strict: boolean;
  private readonly options: TlsTerminationOptions;
  private inProgress = 0;

  constructor(options: TlsTerminationOptions) {
    this.options = options;
    this.strict = options.mode === 'strict';
  }

  /** Begins a handshake; null when there are too many, and then the connection is still the caller's to close. */
  accept(plain: ByteSocket, first: Buffer, length: number, observer: TlsServerObserver): ByteSocket | null {
    const { role, maxHandshakes } = this.options;
    if (this.inProgress >= maxHandshakes) {
      this.count(TlsResult.OVERFLOW);
      return null;
    }
    this.inProgress++;
    return acceptTls(plain, first, length, role(), {
      onSecure: (io, protocol) => {
        this.inProgress--;
        this.count(TlsResult.OK);
        observer.onSecure(io, protocol);
      },
      onFailed: (result) => {
        this.inProgress--;
        this.count(result);
        observer.onFailed(result);
      },
    });
  }

  /** A caller spoke without TLS where it must not. */
  refusedPlain(): void {
    this.count(TlsResult.PLAIN_REFUSED);
  }

  private count(result: number): void {
    this.options.counters[result]! += 1;
  }
}
