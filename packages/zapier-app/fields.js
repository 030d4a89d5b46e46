// Input fields that several steps have.

export const campaign = (more) => ({ key: 'campaign_id', label: 'Campaign', type: 'string', dynamic: 'campaign_list.id.name', ...more });

export const text = (key, label, helpText, more) => ({ key, label, type: 'string', ...(helpText ? { helpText } : {}), ...more });

export const note = text('note', 'Note', 'Why. It is kept with the decision.');

export const occurredAt = { key: 'occurred_at', label: 'Occurred At', type: 'datetime', helpText: 'When it happened. Without it, now.' };

export const source = (helpText) => text('source', 'Source', helpText, { placeholder: 'newsletter' });

/** Who somebody is, in an action. */
export const person = [
	text('first_name', 'First Name'),
	text('last_name', 'Last Name'),
	text('external_id', 'Your Reference', 'What your own system calls the person; unique in the campaign.'),
	text('fields', 'Custom Fields', "The campaign's own fields, by their keys.", { dict: true }),
	source('Where the person came from. Without it, `zapier`.'),
];

/** How to find somebody, in a search. */
export const findBy = [
	{
		key: 'find_by',
		label: 'Find By',
		type: 'string',
		required: true,
		default: 'email',
		choices: { email: 'Email', code: 'Code', external_id: 'Your Reference' },
	},
	text('find_value', 'Value', 'The address, code or reference to look for.', { required: true }),
	campaign({ helpText: 'Leave empty to look in all campaigns.' }),
];
