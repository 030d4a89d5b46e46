import { post } from './api.js';
import { campaign, note, occurredAt, person, source, text } from './fields.js';
import { outputFields } from './output.js';
import * as samples from './samples.js';

const create = (key, noun, label, description, inputFields, sample, perform) => ({
	key,
	noun,
	display: { label, description },
	operation: { inputFields, perform, sample, outputFields: outputFields(sample) },
});

const withSource = ({ source = 'zapier', ...body }) => ({ ...body, source });

const email = (helpText) => text('email', 'Email', helpText, { required: true, placeholder: 'nathan@example.com' });

const addUser = create(
	'add_user',
	'User',
	'Add User',
	'Adds a user to a campaign as a referrer, with a referral link.',
	[
		campaign({ required: true }),
		email('The address of the new referrer. Somebody who is there already is answered as they are.'),
		text('code', 'Code', 'The code in the referral link. Without it, one is made.', { placeholder: 'PRIYA24' }),
		...person,
	],
	samples.referrerMade,
	(z, bundle) => post(z, '/v1/referrers', withSource(bundle.inputData)),
);

const addLead = create(
	'add_lead',
	'Lead',
	'Add Lead',
	'Adds somebody who was referred, as a lead of their referrer.',
	[
		email('The address of the new lead. Somebody who is there already is answered as they are.'),
		text('code', "Referrer's Code", 'The code in the link that was used. Or give address and campaign of the referrer.', { placeholder: 'PRIYA24' }),
		text('referrer_email', "Referrer's Email"),
		campaign({ helpText: "Only needed with the referrer's address: a code says which campaign." }),
		{ key: 'link_used_at', label: 'Link Used At', type: 'datetime', helpText: 'When the friend came by the link, if you know.' },
		...person,
	],
	samples.leadMade,
	async (z, bundle) => {
		const { lead, ...made } = await post(z, '/v1/leads', withSource(bundle.inputData));
		// Flat, as Find Lead has it: what follows Find or Add Lead takes either.
		return { ...lead, ...made };
	},
);

const qualify = (by, label, description, field) =>
	create(
		`qualify_user_with_${by}`,
		'Referral',
		label,
		`${description} Told twice, it counts once.`,
		[
			field,
			campaign({ helpText: 'Needed where the person is a lead in several campaigns.' }),
			text('external_id', 'Event Reference', 'What your own system calls the event, such as the number of a payment.'),
			occurredAt,
			note,
			source('What tells it. Without it, `zapier`.'),
		],
		samples.answer,
		(z, bundle) => post(z, '/v1/qualifications', withSource(bundle.inputData)),
	);

const recordConversion = create(
	'record_conversion',
	'Conversion',
	'Record Conversion',
	"Records an order, invoice or deal of a lead, who is qualified if the campaign's rule is met.",
	[
		{
			key: 'lead_by',
			label: 'Find the Lead By',
			type: 'string',
			required: true,
			default: 'email',
			choices: { email: 'Email', code: "Lead's Code", coupon: 'Coupon', lead_external_id: 'Your Reference', lead_id: 'Lead' },
		},
		text('lead_value', 'Lead', 'The address, code, coupon or reference.', { required: true }),
		// Zapier repeats a step that failed, and does not tell one run from another: without this,
		// an order whose answer was lost would count again.
		text('external_id', 'Order Reference', 'The number of the order, invoice or deal. Told twice, it counts once.', { required: true, placeholder: 'order-1042' }),
		text('amount', 'Amount', 'In the usual form, with a point: `46.00`', { placeholder: '46.00' }),
		text('currency', 'Currency', undefined, { placeholder: 'EUR' }),
		{ key: 'kind', label: 'Kind', type: 'string', choices: { order: 'Order', invoice: 'Invoice', deal: 'Deal', custom: 'Other' } },
		campaign({ helpText: 'Needed where the person is a lead in several campaigns.' }),
		text('goal', 'Goal', "The goal that was reached, where the campaign's rule has several."),
		text('properties', 'Properties', "Anything about it that the campaign's rule looks at.", { dict: true }),
		occurredAt,
		source('What tells it. Without it, `zapier`.'),
	],
	samples.answer,
	(z, bundle) => {
		const { lead_by, lead_value, ...conversion } = bundle.inputData;
		return post(z, '/v1/conversions', withSource({ ...conversion, [lead_by]: lead_value }));
	},
);

const reward = (action, description) =>
	create(
		`${action}_reward`,
		'Reward',
		`${action[0].toUpperCase()}${action.slice(1)} Reward`,
		description,
		[{ key: 'reward_id', label: 'Reward', type: 'string', required: true, dynamic: 'reward_list.id.name' }, note],
		samples.reward,
		(z, bundle) => post(z, `/v1/rewards/${encodeURIComponent(bundle.inputData.reward_id)}/${action}`, { note: bundle.inputData.note }),
	);

export const creates = [
	addUser,
	addLead,
	qualify('email', 'Qualify User With Email', 'Qualifies a referred user, found by email and campaign.', email('The address of the lead.')),
	qualify('code', 'Qualify User With Code', "Qualifies a referred user, found by the lead's own code.", text('code', "Lead's Code", undefined, { required: true })),
	qualify('coupon', 'Qualify User With Coupon', 'Qualifies a referred user, found by the coupon they were given.', text('coupon', 'Coupon', undefined, { required: true })),
	recordConversion,
	reward('approve', 'Approves a reward that is due, on hold or in review.'),
	reward('reject', 'Rejects a reward after review.'),
	reward('issue', 'Issues an approved reward.'),
	reward('confirm', 'Reports that this Zap has issued a reward, as the trigger Reward to Issue asks.'),
	reward('fail', 'Reports that this Zap could not issue a reward.'),
];
