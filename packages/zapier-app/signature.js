import { createHmac, timingSafeEqual } from 'node:crypto';

// Zapier hands headers on as "Http-Webhook-Id".
const header = (headers, name) => {
	const found = Object.entries(headers ?? {}).find(([key]) => key.toLowerCase().replace(/^http-/, '') === name);
	return String(found?.[1] ?? '');
};

/**
 * Whether the server has signed the body with the secret of this subscription (Standard Webhooks,
 * v1). The age of the timestamp is not judged: Zapier queues messages, and does not say when they
 * came.
 */
export const isSigned = (secret, { headers, content } = {}) => {
	if (!secret) return false;
	const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
	const signed = `${header(headers, 'webhook-id')}.${header(headers, 'webhook-timestamp')}.${content}`;
	const expected = createHmac('sha256', key).update(signed).digest();
	return header(headers, 'webhook-signature').split(' ').some((part) => {
		const [version, value] = part.split(',');
		const given = Buffer.from(value ?? '', 'base64');
		return version === 'v1' && given.length === expected.length && timingSafeEqual(given, expected);
	});
};
