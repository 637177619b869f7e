/**
 * Owns the source addresses by which the interception rules recognise the proxy handing an inbound connection to its
 * application. Such a connection goes from the pod to the pod's own address, like a call of the application to itself,
 * which must come to the proxy; the source tells them apart. The IPv6 one is put on the loopback interface at install.
 */

/** Any address of 127.0.0.0/8 is local on Linux without being configured. */
export const INBOUND_SOURCE_V4 = '127.0.0.6';
/** Local only after the installer has added it to `lo`. */
export const INBOUND_SOURCE_V6 = '::6';

/** The `localAddress` with which to connect to the application when delivering an inbound connection to `host`. */
export function inboundSource(family: 4 | 6): string {
  return family === 4 ? INBOUND_SOURCE_V4 : INBOUND_SOURCE_V6;
}
