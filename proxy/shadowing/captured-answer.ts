/** What a head says about the body behind it, as the comparison of a pair needs to know it. */
import type { HeaderList } from '../../proto/http2/header-list.ts';

/** grpc-encoding or content-encoding; '' for identity. */
export function answerEncoding(head: HeaderList): string {
  const encoding = head.get('grpc-encoding') ?? head.get('content-encoding') ?? '';
  return encoding === 'identity' ? '' : encoding;
}

/** Bytes of JSON in front of tensors that follow as bytes (Open Inference Protocol, binary data); 0 when none follow. */
export function jsonBytesOf(head: HeaderList): number {
  const text = head.get('inference-header-content-length');
  return text !== undefined && /^[0-9]{1,9}$/.test(text) ? Number(text) : 0;
}
