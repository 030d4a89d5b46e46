import type { INodeProperties } from 'n8n-workflow';

import {
	campaign,
	idempotencyKey,
	idOf,
	leadBy,
	listFilters,
	many,
	note,
	occurredAt,
	one,
	operations,
	pairs,
	paging,
	send,
	text,
	which,
} from './common';

const resource = 'conversion';
const show = (...operation: string[]) => ({ resource: [resource], operation });

const kinds = [
	{ name: 'Custom', value: 'custom' },
	{ name: 'Deal', value: 'deal' },
	{ name: 'Invoice', value: 'invoice' },
	{ name: 'Order', value: 'order' },
];

export const conversionProperties: INodeProperties[] = [
	operations(
		resource,
		[
			{
				name: 'Get',
				value: 'get',
				action: 'Get a conversion',
				description: 'Retrieve a conversion',
				routing: one('GET', `=/v1/conversions/${idOf('conversionId')}`),
			},
			{
				name: 'Get Many',
				value: 'getAll',
				action: 'Get many conversions',
				description: 'Retrieve a list of conversions',
				routing: many('/v1/conversions'),
			},
			{
				name: 'Record',
				value: 'record',
				action: 'Record a conversion',
				description:
					"Record an order, invoice or deal of a lead. The campaign's rule decides whether it qualifies the lead.",
				routing: one('POST', '/v1/conversions', { source: 'n8n' }),
			},
			{
				name: 'Refund',
				value: 'refund',
				action: 'Refund a conversion',
				description: 'Refund a conversion in part or in full',
				routing: one('POST', '/v1/conversions/refunds', { source: 'n8n' }),
			},
		],
		'record',
	),
	which(resource, ['get']),

	// Record
	...leadBy(resource, ['record'], 'Lead By'),
	{
		...text(
			'Order ID',
			'externalId',
			'external_id',
			'The ID of the order, invoice or deal in your system. Told twice, it counts once.',
			'e.g. order-4711',
		),
		displayOptions: { show: show('record') },
	},

	// Refund
	{
		...text(
			'Order ID',
			'conversionExternalId',
			'conversion_external_id',
			'The ID that the conversion was recorded with',
			'e.g. order-4711',
		),
		required: true,
		displayOptions: { show: show('refund') },
	},
	{
		displayName: 'Refund',
		name: 'refundWhat',
		type: 'options',
		options: [
			{ name: 'All That Is Left', value: 'all' },
			{ name: 'An Amount', value: 'amount' },
		],
		default: 'all',
		displayOptions: { show: show('refund') },
	},

	// Amounts of both
	{
		displayName: 'Amount',
		name: 'amount',
		type: 'string',
		default: '',
		placeholder: 'e.g. 49.90',
		description: 'What was paid. Leave empty where there is no amount.',
		displayOptions: { show: show('record') },
		routing: {
			send: {
				type: 'body',
				property: '={{ $parameter["amountIn"] === "minor" ? "amount_minor" : "amount" }}',
				value:
					'={{ $value === "" || $value === null ? undefined : $parameter["amountIn"] === "minor" ? Number($value) : String($value) }}',
			},
		},
	},
	{
		displayName: 'Amount',
		name: 'refundAmount',
		type: 'string',
		required: true,
		default: '',
		placeholder: 'e.g. 49.90',
		description: 'What was paid back',
		displayOptions: { show: { ...show('refund'), refundWhat: ['amount'] } },
		routing: {
			send: {
				type: 'body',
				property: '={{ $parameter["amountIn"] === "minor" ? "amount_minor" : "amount" }}',
				value:
					'={{ $value === "" || $value === null ? undefined : $parameter["amountIn"] === "minor" ? Number($value) : String($value) }}',
			},
		},
	},
	{
		displayName: 'Amount In',
		name: 'amountIn',
		type: 'options',
		options: [
			{
				name: 'Cents',
				value: 'minor',
				description: 'The smallest unit of the currency, as Stripe has it: 4990',
			},
			{ name: 'Units', value: 'major', description: 'As people write it: 49.90' },
		],
		default: 'major',
		displayOptions: { show: show('record') },
	},
	{
		displayName: 'Amount In',
		name: 'amountIn',
		type: 'options',
		options: [
			{
				name: 'Cents',
				value: 'minor',
				description: 'The smallest unit of the currency, as Stripe has it: 4990',
			},
			{ name: 'Units', value: 'major', description: 'As people write it: 49.90' },
		],
		default: 'major',
		displayOptions: { show: { ...show('refund'), refundWhat: ['amount'] } },
	},
	{
		displayName: 'Currency',
		name: 'currency',
		type: 'string',
		default: '',
		placeholder: 'e.g. EUR',
		description: 'Three letters of ISO 4217',
		displayOptions: { show: show('record') },
		routing: {
			send: {
				type: 'body',
				property: 'currency',
				value: '={{ $value ? String($value).toUpperCase() : undefined }}',
			},
		},
	},
	{
		displayName: 'Currency',
		name: 'refundCurrency',
		type: 'string',
		required: true,
		default: '',
		placeholder: 'e.g. EUR',
		description: 'Three letters of ISO 4217',
		displayOptions: { show: { ...show('refund'), refundWhat: ['amount'] } },
		routing: {
			send: {
				type: 'body',
				property: 'currency',
				value: '={{ $value ? String($value).toUpperCase() : undefined }}',
			},
		},
	},
	{
		displayName: 'Additional Fields',
		name: 'additionalFields',
		type: 'collection',
		placeholder: 'Add Field',
		default: {},
		displayOptions: { show: show('record') },
		options: [
			text('Goal', 'goal', 'goal', 'The goal that is reached, where the campaign has goals'),
			{
				displayName: 'Kind',
				name: 'kind',
				type: 'options',
				options: kinds,
				default: 'order',
				routing: send('kind'),
			},
			occurredAt('Occurred At', 'occurredAt', 'occurred_at', 'When it happened. Without it, now.'),
			pairs(
				'Properties',
				'properties',
				'properties',
				"Anything about it that the campaign's condition looks at",
				'Add Property',
			),
			{
				displayName: 'Properties (JSON)',
				name: 'propertiesJson',
				type: 'json',
				default: '{}',
				description: 'The same as an object, with numbers and nested values',
				routing: {
					send: {
						type: 'body',
						property: 'properties',
						value: '={{ typeof $value === "string" ? JSON.parse($value) : $value }}',
					},
				},
			},
			text('Source', 'source', 'source', 'What tells it. Without it, "n8n".', 'e.g. stripe'),
			idempotencyKey,
		],
	},
	{
		displayName: 'Additional Fields',
		name: 'refundFields',
		type: 'collection',
		placeholder: 'Add Field',
		default: {},
		displayOptions: { show: show('refund') },
		options: [
			note('Why; kept with the decision'),
			text(
				'Refund ID',
				'externalId',
				'external_id',
				'The ID of the refund in your system. Told twice, it counts once.',
				'e.g. refund-4711',
			),
			text('Source', 'source', 'source', 'What tells it. Without it, "n8n".', 'e.g. stripe'),
			idempotencyKey,
		],
	},

	// Get Many
	campaign(show('getAll'), { type: 'query', description: 'Only in this campaign. Leave empty for all.' }),
	...paging(resource),
	{
		displayName: 'Filters',
		name: 'filters',
		type: 'collection',
		placeholder: 'Add Filter',
		default: {},
		displayOptions: { show: show('getAll') },
		options: [
			{
				displayName: 'Counts',
				name: 'counts',
				type: 'boolean',
				default: true,
				description:
					'Whether to return only conversions that count towards the rule, or only those that do not',
				routing: { send: { type: 'query', property: 'counts' } },
			},
			...listFilters,
			{
				displayName: 'Kind',
				name: 'kind',
				type: 'options',
				options: kinds,
				default: 'order',
				routing: send('kind', 'query'),
			},
			{
				displayName: 'Lead ID',
				name: 'leadId',
				type: 'string',
				default: '',
				routing: send('lead_id', 'query'),
			},
			{
				displayName: 'Order ID',
				name: 'externalId',
				type: 'string',
				default: '',
				description: 'The ID in your system',
				routing: send('external_id', 'query'),
			},
		],
	},
];
