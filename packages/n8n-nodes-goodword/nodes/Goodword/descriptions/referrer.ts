import type { INodeProperties } from 'n8n-workflow';

import {
	campaign,
	deleted,
	email,
	findBy,
	idempotencyKey,
	idOf,
	listFilters,
	many,
	one,
	operations,
	options,
	pairs,
	paging,
	searchFilter,
	send,
	sourceFilter,
	text,
	which,
} from './common';

const resource = 'referrer';
const show = (...operation: string[]) => ({ resource: [resource], operation });

const personFields = (): INodeProperties[] => [
	pairs('Custom Fields', 'fields', 'fields', "The campaign's own fields, by key", 'Add Field'),
	text('First Name', 'firstName', 'first_name'),
	text('Last Name', 'lastName', 'last_name'),
	text(
		'Your Own ID',
		'externalId',
		'external_id',
		'Your own ID of the person, unique in the campaign',
		'e.g. customer-4711',
	),
];

export const referrerProperties: INodeProperties[] = [
	operations(
		resource,
		[
			{
				name: 'Add User',
				value: 'add',
				action: 'Add user',
				description:
					'Add a user to a campaign as a referrer, with a referral link. Somebody who is there already is answered as they are.',
				routing: one('POST', '/v1/referrers', { source: 'n8n' }),
			},
			{
				name: 'Delete',
				value: 'delete',
				action: 'Delete a referrer',
				description: "Erase a referrer's personal data",
				routing: deleted(`=/v1/referrers/${idOf('referrerId')}`),
			},
			{
				name: 'Find',
				value: 'find',
				action: 'Find a referrer',
				description: 'Find a referrer by email, code or your own ID',
				routing: many('/v1/referrers'),
			},
			{
				name: 'Get',
				value: 'get',
				action: 'Get a referrer',
				description: 'Retrieve a referrer with the referral link and the number of leads',
				routing: one('GET', `=/v1/referrers/${idOf('referrerId')}`),
			},
			{
				name: 'Get Many',
				value: 'getAll',
				action: 'Get many referrers',
				description: 'Retrieve a list of referrers',
				routing: many('/v1/referrers'),
			},
			{
				name: 'Update',
				value: 'update',
				action: 'Update a referrer',
				description: "Change a referrer's data",
				routing: one('PATCH', `=/v1/referrers/${idOf('referrerId')}`),
			},
		],
		'add',
	),
	which(resource, ['delete', 'get', 'update']),
	campaign(show('add'), { required: true, description: 'The campaign to add the user to' }),
	email(show('add'), 'The address of the new referrer'),
	{
		displayName: 'Additional Fields',
		name: 'additionalFields',
		type: 'collection',
		placeholder: 'Add Field',
		default: {},
		displayOptions: { show: show('add') },
		options: [
			text('Code', 'code', 'code', 'The code in the referral link. Without it, one is made.', 'e.g. PRIYA24'),
			...personFields(),
			text('Source', 'source', 'source', 'Where the person came from. Without it, "n8n".', 'e.g. newsletter'),
			idempotencyKey,
		],
	},
	{
		displayName: 'Update Fields',
		name: 'updateFields',
		type: 'collection',
		placeholder: 'Add Field',
		default: {},
		displayOptions: { show: show('update') },
		options: [
			text('Code', 'code', 'code', 'The new code in the referral link', 'e.g. PRIYA24'),
			text('Email', 'email', 'email', undefined, 'e.g. nathan@example.com'),
			...personFields(),
			idempotencyKey,
		],
	},
	...findBy(show('find')),
	campaign(show('find', 'getAll'), {
		type: 'query',
		description: 'Only in this campaign. Leave empty for all.',
	}),
	sourceFilter(show('getAll')),
	...paging(resource),
	{
		displayName: 'Filters',
		name: 'filters',
		type: 'collection',
		placeholder: 'Add Filter',
		default: {},
		displayOptions: { show: show('getAll') },
		options: [
			...listFilters,
			searchFilter('a name, an address or a code'),
			{
				displayName: 'Status',
				name: 'status',
				type: 'options',
				options: [
					{ name: 'Active', value: 'active' },
					{ name: 'Suspended', value: 'suspended' },
				],
				default: 'active',
				routing: send('status', 'query'),
			},
		],
	},
	options(resource, ['delete']),
];
