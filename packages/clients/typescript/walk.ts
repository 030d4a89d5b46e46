// What a program in TypeScript does with the generated client, from a campaign to an issued reward.
import assert from 'node:assert/strict';
import createClient from 'openapi-fetch';

import type { components, paths } from './schema.ts';

const { GOODWORD_URL: baseUrl = '', GOODWORD_TEST_KEY: key = '' } = process.env;
const goodword = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${key}` } });

/** The data of an answer, or the problem that the server tells of. */
function done<T>({ data, error }: { data?: T; error?: components['schemas']['Problem'] }): T {
	if (data === undefined) throw new Error(error?.detail ?? 'no answer');
	return data;
}

const me = done(await goodword.GET('/v1/me'));
assert.equal(me.test, true);

const campaign = done(
	await goodword.POST('/v1/campaigns', {
		body: {
			name: 'TypeScript',
			status: 'live',
			currency: 'EUR',
			rewards: [{ name: '20 EUR for you', beneficiary: 'referrer', review: 'always', value: { type: 'fixed', amount: { amount: '20.00', currency: 'EUR' } } }],
		},
	}),
);
const referrer = done(await goodword.POST('/v1/referrers', { body: { campaign_id: campaign.id, email: 'priya@example.com' } }));
assert.ok(referrer.created && referrer.referral_link.endsWith(referrer.code));

const { lead } = done(await goodword.POST('/v1/leads', { body: { code: referrer.code, email: 'maya@example.com' } }));
assert.ok(lead);
const qualification = { lead_id: lead.id, note: 'by a program' };
const answer = done(await goodword.POST('/v1/qualifications', { body: qualification, params: { header: { 'Idempotency-Key': 'typescript-1' } } }));
assert.deepEqual([answer.outcome, answer.qualified, answer.lead?.status], ['applied', true, 'qualified']);
const { response } = await goodword.POST('/v1/qualifications', { body: qualification, params: { header: { 'Idempotency-Key': 'typescript-1' } } });
assert.equal(response.headers.get('idempotent-replayed'), 'true');

const [reward] = done(await goodword.GET('/v1/rewards', { params: { query: { campaign_id: campaign.id, state: 'in_review' } } })).data;
assert.ok(reward);
const path = { id: reward.id };
assert.equal(done(await goodword.POST('/v1/rewards/{id}/approve', { params: { path }, body: {} })).state, 'approved');
const issued = done(await goodword.POST('/v1/rewards/{id}/issue', { params: { path }, body: { note: 'by a program' } }));
assert.deepEqual([issued.state, issued.amount?.amount_minor], ['issued', 2000]);

const explanation = done(await goodword.GET('/v1/leads/{id}/explanation', { params: { path: { id: lead.id } } }));
assert.equal(typeof explanation.verdict, 'string');

const events = done(await goodword.GET('/v1/events', { params: { query: { type: ['reward.issued'], campaign_id: campaign.id } } })).data;
assert.deepEqual(events.map((event) => event.data.reward?.id), [reward.id]);

const refused = await goodword.POST('/v1/leads', { body: { code: referrer.code, email: 'maya' } });
assert.deepEqual([refused.error?.status, refused.error?.errors[0]?.field], [422, '/email']);
const conflict = await goodword.POST('/v1/leads', { body: { code: referrer.code, email: 'priya@example.com' } });
assert.equal(conflict.error?.reason, 'not_self');

console.log(`TypeScript: ${explanation.verdict}`);
