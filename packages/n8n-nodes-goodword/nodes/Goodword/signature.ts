import { createHmac, timingSafeEqual } from 'crypto';

/** How far a timestamp may be off, in seconds: what Standard Webhooks recommends. */
const TOLERANCE = 5 * 60;

export interface Signed {
	id: unknown;
	timestamp: unknown;
	signature: unknown;
	body: Buffer;
}

/**
 * Why a message is not what the owner of the secret has signed just now, or
 * `undefined` where it is (Standard Webhooks, version v1).
 */
export function refusal(
	secret: string | undefined,
	{ id, timestamp, signature, body }: Signed,
	nowSeconds: number,
): string | undefined {
	if (!secret) return 'This workflow has no secret. Deactivate and activate it.';
	if (typeof id !== 'string' || typeof timestamp !== 'string' || typeof signature !== 'string') {
		return 'The headers webhook-id, webhook-timestamp and webhook-signature are required.';
	}
	if (!/^\d{1,12}$/.test(timestamp) || Math.abs(nowSeconds - Number(timestamp)) > TOLERANCE) {
		return 'The timestamp is too far from the time here. Check the clocks.';
	}
	const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
	const expected = createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest();
	const matches = signature.split(' ').some((part) => {
		const [version, value] = part.split(',');
		const given = Buffer.from(value ?? '', 'base64');
		return version === 'v1' && given.length === expected.length && timingSafeEqual(given, expected);
	});
	return matches ? undefined : 'The signature does not match.';
}
