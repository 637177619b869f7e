/**
 * X.509 certificates made with Node alone, for tests of TLS: an authority, and leaves that are good, expired, not yet
 * valid, or carry any names (RFC 5280; ECDSA over P-256).
 */
import { createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';

export interface Issued {
  readonly cert: string;
  readonly key: string;
}

export interface LeafOptions {
  /** Subject alternative names: host names, IPv4 addresses, or URIs (with `://`). */
  readonly names: readonly string[];
  readonly notBefore?: Date;
  readonly notAfter?: Date;
  readonly commonName?: string;
}

const DAY_MS = 86_400_000;
const ECDSA_SHA256 = Buffer.from('300a06082a8648ce3d040302', 'hex');
const COMMON_NAME = Buffer.from('0603550403', 'hex');
const BASIC_CONSTRAINTS = Buffer.from('0603551d13', 'hex');
const SUBJECT_ALT_NAME = Buffer.from('0603551d11', 'hex');
const TRUE = Buffer.from('0101ff', 'hex');
const VERSION_3 = Buffer.from('a003020102', 'hex');

export class TestAuthority {
  /** PEM of the authority's own certificate. */
  readonly cert: string;
  private readonly key: KeyObject;
  private readonly name: Buffer;

  constructor(commonName = 'test authority') {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    this.key = privateKey;
    this.name = nameOf(commonName);
    const constraints = der(0x30, BASIC_CONSTRAINTS, TRUE, der(0x04, der(0x30, TRUE)));
    this.cert = this.certify(this.name, publicKey, new Date(Date.now() - DAY_MS), inDays(10), [constraints]);
  }

  /** A certificate and its key; valid for a day unless told otherwise. */
  issue({ names, notBefore, notAfter, commonName = 'leaf' }: LeafOptions): Issued {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const alternatives = der(0x30, SUBJECT_ALT_NAME, der(0x04, der(0x30, ...names.map(generalName))));
    const from = notBefore ?? new Date(Date.now() - DAY_MS);
    const publicKey = createPublicKey(privateKey);
    const cert = this.certify(nameOf(commonName), publicKey, from, notAfter ?? inDays(1), [alternatives]);
    return { cert, key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string };
  }

  private certify(subject: Buffer, publicKey: KeyObject, from: Date, to: Date, extensions: Buffer[]): string {
    const serial = randomBytes(8);
    serial[0] = (serial[0]! & 0x7f) | 1;
    const body = der(
      0x30,
      VERSION_3,
      der(0x02, serial),
      ECDSA_SHA256,
      this.name,
      der(0x30, time(from), time(to)),
      subject,
      publicKey.export({ type: 'spki', format: 'der' }),
      der(0xa3, der(0x30, ...extensions)),
    );
    const signature = sign('sha256', body, this.key);
    const whole = der(0x30, body, ECDSA_SHA256, der(0x03, Buffer.from([0]), signature));
    const lines = whole.toString('base64').match(/.{1,64}/g)!;
    return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
  }
}

function inDays(days: number): Date {
  return new Date(Date.now() + days * DAY_MS);
}

function nameOf(commonName: string): Buffer {
  return der(0x30, der(0x31, der(0x30, COMMON_NAME, der(0x0c, Buffer.from(commonName)))));
}

function generalName(name: string): Buffer {
  if (name.includes('://')) return der(0x86, Buffer.from(name));
  if (/^[0-9.]+$/.test(name)) return der(0x87, Buffer.from(name.split('.').map(Number)));
  return der(0x82, Buffer.from(name));
}

function time(date: Date): Buffer {
  return der(0x18, Buffer.from(date.toISOString().replace(/[-:T]/g, '').slice(0, 14).concat('Z')));
}

function der(tag: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  const size: number[] = [];
  if (content.length < 128) size.push(content.length);
  else {
    for (let rest = content.length; rest > 0; rest >>= 8) size.unshift(rest & 0xff);
    size.unshift(0x80 | size.length);
  }
  return Buffer.concat([Buffer.from([tag, ...size]), content]);
}
