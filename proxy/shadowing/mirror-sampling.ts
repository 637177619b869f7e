/**
 * Which requests a shadow sees, decided by what two processes both know of a request: the sticky key, else
 * `x-request-id`, else the message itself. One point per request serves all shadows of a model, so a shadow of 5 % sees
 * a part of what one of 10 % sees, and two of 5 % see the same.
 */
import { PREFIX_BYTES } from '../../proto/grpc/message-framing.ts';
import type { MeshModel } from '../mesh.ts';
import { stickyInputOf } from '../request/sticky-input.ts';
import { MAX_KEYED_BYTES } from '../routing/input-value.ts';
import { HASHED_BYTES, hashHundredths, hashMessage } from '../routing/murmur3.ts';
import type { Shown } from './mirrored-pair.ts';

/** Mixed into the model's salt: a caller's share of the split must not decide whether it is mirrored. */
const MIRROR_SALT = '/mirror';
/** The point is not known before the whole message is. */
export const WHEN_COMPLETE = -1;

/** The request's point, 0..9999, as far as its head says it; `WHEN_COMPLETE` otherwise. */
export function pointOfHead(shown: Shown, model: MeshModel): number {
  const { stickyHeader, stickyInput, salt } = model.config;
  const head = shown.head!;
  const sticky = stickyHeader === '' ? undefined : head.get(stickyHeader);
  if (sticky !== undefined) return hashHundredths(salt + MIRROR_SALT, sticky);
  if (stickyInput !== '') return WHEN_COMPLETE;
  const id = head.get('x-request-id');
  return id === undefined ? WHEN_COMPLETE : hashHundredths(salt + MIRROR_SALT, id);
}

/** The point of a request whose head does not say it and whose message is complete. */
export function pointOfMessage(shown: Shown, model: MeshModel, message: Buffer, length: number): number {
  const { stickyInput, salt } = model.config;
  if (stickyInput !== '') {
    const key = stickyInputOf(shown.traits!, message, length, stickyInput);
    if (key !== undefined) return hashHundredths(salt + MIRROR_SALT, key);
  }
  const id = shown.head!.get('x-request-id');
  if (id !== undefined) return hashHundredths(salt + MIRROR_SALT, id);
  return hashMessage(salt + MIRROR_SALT, message, length);
}

/**
 * The same of a request that has only begun, `message[0 .. length)`: what decides is in its first bytes, with its length
 * as its head or its prefix says it. `WHEN_COMPLETE` where that cannot be told.
 */
export function pointOfLarge(shown: Shown, model: MeshModel, message: Buffer, length: number): number {
  const { stickyInput, salt } = model.config;
  const isGrpc = shown.traits!.call !== null;
  const total = isGrpc ? PREFIX_BYTES + message.readUInt32BE(1) : Number(shown.head!.get('content-length'));
  // A sticky input counts in short messages only.
  const keyed = stickyInput !== '' && !(total > MAX_KEYED_BYTES);
  if (!Number.isSafeInteger(total) || keyed) return WHEN_COMPLETE;
  const id = shown.head!.get('x-request-id');
  if (id !== undefined) return hashHundredths(salt + MIRROR_SALT, id);
  return length >= Math.min(total, HASHED_BYTES) ? hashMessage(salt + MIRROR_SALT, message, total) : WHEN_COMPLETE;
}
