/**
 * Reads TensorFlow Serving's `SSLConfig` in text format. The PEM texts themselves are in the file, as TensorFlow Serving
 * has them; a value that names a file instead is read from there, so that secrets can stay in mounted volumes.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { TextField } from '../repository/text-proto.ts';
import { booleanOf, readFields, readText, scalarOf } from './text-fields.ts';

export interface TlsSettings {
  readonly key: string;
  readonly cert: string;
  /** Certificates that clients' certificates are checked against; '' for the system's. */
  readonly ca: string;
  /** Whether a client must show a certificate. */
  readonly clientVerify: boolean;
}

const PEM = '-----BEGIN ';

/** The settings of a text; `problems` is empty when they can be used. */
export function parseSslConfig(text: string): { tls: TlsSettings; problems: string[] } {
  const texts = { key: '', cert: '', ca: '' };
  let clientVerify = false;
  const problems: string[] = [];
  const message = readText(text, problems);
  if (message !== null) {
    readFields(
      message,
      {
        server_key: (field) => {
          texts.key = pemOf(field, (pem) => createPrivateKey(pem));
        },
        server_cert: (field) => {
          texts.cert = pemOf(field, (pem) => new X509Certificate(pem));
        },
        custom_ca: (field) => {
          texts.ca = pemOf(field, (pem) => new X509Certificate(pem));
        },
        client_verify: (field) => {
          clientVerify = booleanOf(field);
        },
      },
      problems,
    );
    if (texts.key === '' && problems.length === 0) problems.push('server_key: expected a private key');
    if (texts.cert === '' && problems.length === 0) problems.push('server_cert: expected a certificate');
  }
  return { tls: { ...texts, clientVerify }, problems };
}

/** The PEM text of a field, or of the file it names. What is wrong is said without showing the text. */
function pemOf(field: TextField, check: (pem: string) => unknown): string {
  const value = scalarOf(field);
  if (value === '') return '';
  const pem = value.includes(PEM) ? value : readFileSync(value, 'utf8');
  try {
    check(pem);
  } catch (error) {
    throw new Error(`PEM that can be read (${(error as Error).message})`);
  }
  return pem;
}
