/** What a shadow can do to the proxy that shows it requests; the names are the rows of the report. */
export const SHADOW_BEHAVIOURS = ['answers', 'hangs', 'garbage', 'floods', 'dies', 'slow'] as const;
export type ShadowBehaviour = (typeof SHADOW_BEHAVIOURS)[number];

/** The run without any shadow, to which the others are held. */
export const SHADOW_OFF = 'off';
/** Another proxy without a shadow: what differs between the two is noise. */
export const SHADOW_CONTROL = 'off again';
