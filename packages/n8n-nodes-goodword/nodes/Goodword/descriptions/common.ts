import type {
	INodeProperties,
	INodePropertyOptions,
	INodePropertyRouting,
	IHttpRequestMethods,
} from 'n8n-workflow';

import type { listSearch } from '../search';
import { answerDeleted, answerMany, answerOne } from '../transport';

type Show = { resource: string[]; operation: string[] } & Record<string, Array<string | boolean>>;

/** A request whose answer becomes one item. */
export const one = (method: IHttpRequestMethods, url: string, body?: object): INodePropertyRouting => ({
	request: { method, url, ...(body ? { body } : {}) } as INodePropertyRouting['request'],
	output: { postReceive: [answerOne] },
});

/** A page of a list: an item for each row. */
export const many = (url: string): INodePropertyRouting => ({
	request: { method: 'GET', url },
	output: { postReceive: [answerMany] },
});

export const deleted = (url: string): INodePropertyRouting => ({
	request: { method: 'DELETE', url },
	output: { postReceive: [answerDeleted] },
});

/** An id of a parameter, as part of an address. */
export const idOf = (parameter: string) => `{{encodeURIComponent($parameter["${parameter}"])}}`;

export const operations = (
	resource: string,
	options: INodePropertyOptions[],
	value: string,
): INodeProperties => ({
	displayName: 'Operation',
	name: 'operation',
	type: 'options',
	noDataExpression: true,
	displayOptions: { show: { resource: [resource] } },
	options,
	default: value,
});

/** From the server's list, with search, or by id. */
export const modes = (method: keyof typeof listSearch, example: string): Pick<INodeProperties, 'modes'> => ({
	modes: [
		{
			displayName: 'From List',
			name: 'list',
			type: 'list',
			typeOptions: { searchListMethod: method, searchable: true },
		},
		{
			displayName: method === 'getSources' ? 'By Name' : 'By ID',
			name: 'id',
			type: 'string',
			placeholder: `e.g. ${example}`,
		},
	],
});

/** Sends a parameter where it has a value. */
export const send = (property: string, type: 'body' | 'query' = 'body'): INodePropertyRouting => ({
	send: { type, property, value: '={{ $value === "" ? undefined : $value }}' },
});

/** Which one: in the address of the request, so it sends nothing. */
export const which = (
	resource: 'lead' | 'referrer' | 'reward' | 'campaign' | 'conversion',
	operation: string[],
): INodeProperties => {
	const [method, displayName, example] = {
		lead: ['getLeads', 'Lead', 'lead_01jd3x5w8me4qv9c2t7k6hz0ab'],
		referrer: ['getReferrers', 'Referrer', 'ref_01jd3x5w8me4qv9c2t7k6hz0ab'],
		reward: ['getRewards', 'Reward', 'rwd_01jd3x5w8me4qv9c2t7k6hz0ab'],
		campaign: ['getCampaigns', 'Campaign', 'cmp_01jd3x5w8me4qv9c2t7k6hz0ab'],
		conversion: ['', 'Conversion ID', 'cnv_01jd3x5w8me4qv9c2t7k6hz0ab'],
	}[resource] as [keyof typeof listSearch, string, string];
	const displayOptions = { show: { resource: [resource], operation } };
	if (resource === 'conversion') {
		return {
			displayName,
			name: 'conversionId',
			type: 'string',
			required: true,
			default: '',
			placeholder: `e.g. ${example}`,
			description: 'The ID that Goodword gave the conversion',
			displayOptions,
		};
	}
	return {
		displayName,
		name: `${resource}Id`,
		type: 'resourceLocator',
		required: true,
		default: { mode: 'list', value: '' },
		description: `The ${resource} to work with`,
		...modes(method, example),
		displayOptions,
	};
};

export const campaign = (
	show: Show,
	{
		required = false,
		type = 'body',
		description,
	}: { required?: boolean; type?: 'body' | 'query'; description: string },
): INodeProperties => ({
	displayName: 'Campaign',
	name: 'campaign',
	type: 'resourceLocator',
	required,
	default: { mode: 'list', value: '' },
	description,
	...modes('getCampaigns', 'cmp_01jd3x5w8me4qv9c2t7k6hz0ab'),
	displayOptions: { show },
	routing: send('campaign_id', type),
});

export const sourceFilter = (show: Show): INodeProperties => ({
	displayName: 'Source',
	name: 'source',
	type: 'resourceLocator',
	default: { mode: 'list', value: '' },
	description: 'Only people who came from there. Leave empty for all.',
	...modes('getSources', 'link'),
	displayOptions: { show },
	routing: send('source', 'query'),
});

/** Return All and Limit, with the pages behind. */
export const paging = (resource: string, operation = ['getAll']): INodeProperties[] => [
	{
		displayName: 'Return All',
		name: 'returnAll',
		type: 'boolean',
		default: false,
		description: 'Whether to return all results or only up to a given limit',
		displayOptions: { show: { resource: [resource], operation } },
		routing: {
			send: {
				paginate: '={{ $value }}',
				type: 'query',
				property: 'limit',
				value: '={{ $value ? 250 : undefined }}',
			},
			operations: {
				pagination: {
					type: 'generic',
					properties: {
						continue: '={{ !!$response.body.next_cursor }}',
						request: {
							qs: '={{ Object.assign({}, $request.qs, $response.body ? { cursor: $response.body.next_cursor } : {}) }}' as never,
						},
					},
				},
			},
		},
	},
	{
		displayName: 'Limit',
		name: 'limit',
		type: 'number',
		typeOptions: { minValue: 1, maxValue: 250 },
		default: 50,
		description: 'Max number of results to return',
		displayOptions: { show: { resource: [resource], operation, returnAll: [false] } },
		routing: { send: { type: 'query', property: 'limit' } },
	},
];

/** Filters that every list has. */
export const listFilters: INodeProperties[] = [
	{
		displayName: 'Created After',
		name: 'createdAfter',
		type: 'dateTime',
		default: '',
		routing: {
			send: {
				type: 'query',
				property: 'created_after',
				value: '={{ $value ? new Date($value).toISOString() : undefined }}',
			},
		},
	},
	{
		displayName: 'Created Before',
		name: 'createdBefore',
		type: 'dateTime',
		default: '',
		routing: {
			send: {
				type: 'query',
				property: 'created_before',
				value: '={{ $value ? new Date($value).toISOString() : undefined }}',
			},
		},
	},
	{
		displayName: 'Order',
		name: 'order',
		type: 'options',
		options: [
			{ name: 'Newest First', value: 'desc' },
			{ name: 'Oldest First', value: 'asc' },
		],
		default: 'desc',
		routing: { send: { type: 'query', property: 'order' } },
	},
];

export const searchFilter = (what: string): INodeProperties => ({
	displayName: 'Search',
	name: 'search',
	type: 'string',
	default: '',
	description: `Part of ${what}`,
	routing: send('search', 'query'),
});

export const idempotencyKey: INodeProperties = {
	displayName: 'Idempotency Key',
	name: 'idempotencyKey',
	type: 'string',
	default: '',
	placeholder: 'e.g. order-4711',
	description:
		'The same request with the same key is done once, and its answer comes again word for word for 30 days. Safe with "Retry On Fail".',
	routing: { request: { headers: { 'Idempotency-Key': '={{ $value === "" ? undefined : $value }}' } } },
};

/** A collection that only has the key. */
export const options = (
	resource: string,
	operation: string[],
	more: INodeProperties[] = [],
): INodeProperties => ({
	displayName: 'Options',
	name: 'options',
	type: 'collection',
	placeholder: 'Add option',
	default: {},
	displayOptions: { show: { resource: [resource], operation } },
	options: [...more, idempotencyKey].sort((a, b) => a.displayName.localeCompare(b.displayName)),
});

export const note = (description: string): INodeProperties => ({
	displayName: 'Note',
	name: 'note',
	type: 'string',
	default: '',
	description,
	routing: send('note'),
});

/** A field of a collection that is sent as it is. */
export const text = (
	displayName: string,
	name: string,
	property: string,
	description?: string,
	placeholder?: string,
): INodeProperties => ({
	displayName,
	name,
	type: 'string',
	default: '',
	...(description ? { description } : {}),
	...(placeholder ? { placeholder } : {}),
	routing: send(property),
});

export const occurredAt = (
	displayName: string,
	name: string,
	property: string,
	description: string,
): INodeProperties => ({
	displayName,
	name,
	type: 'dateTime',
	default: '',
	description,
	routing: {
		send: { type: 'body', property, value: '={{ $value ? new Date($value).toISOString() : undefined }}' },
	},
});

/** Key and value pairs, as one object. */
export const pairs = (
	displayName: string,
	name: string,
	property: string,
	description: string,
	placeholder: string,
): INodeProperties => ({
	displayName,
	name,
	type: 'fixedCollection',
	typeOptions: { multipleValues: true },
	placeholder,
	default: {},
	description,
	options: [
		{
			displayName: 'Field',
			name: 'field',
			values: [
				{ displayName: 'Key', name: 'key', type: 'string', default: '' },
				{ displayName: 'Value', name: 'value', type: 'string', default: '' },
			],
		},
	],
	routing: {
		send: {
			type: 'body',
			property,
			value:
				'={{ Object.fromEntries(($value.field || []).filter((pair) => pair.key !== "").map((pair) => [pair.key, pair.value])) }}',
		},
	},
});

export const email = (show: Show, description: string): INodeProperties => ({
	displayName: 'Email',
	name: 'email',
	type: 'string',
	placeholder: 'e.g. nathan@example.com',
	required: true,
	default: '',
	description,
	displayOptions: { show },
	routing: send('email'),
});

/** How a lead is named, in the words of the model: five ways. */
export const leadBy = (resource: string, operation: string[], displayName: string): INodeProperties[] => {
	const show = (...by: string[]): Show => ({ resource: [resource], operation, leadBy: by });
	return [
		{
			displayName,
			name: 'leadBy',
			type: 'options',
			options: [
				{ name: 'Code', value: 'code', description: "The lead's own code, which is certain" },
				{ name: 'Coupon', value: 'coupon', description: 'A coupon that the lead was given' },
				{
					name: 'Email and Campaign',
					value: 'email',
					description: "The lead's address; without a campaign, it must be in one campaign only",
				},
				{ name: 'Lead', value: 'id', description: 'The lead from a list, or its ID' },
				{
					name: 'Your Own ID',
					value: 'externalId',
					description: 'Your own ID of the person, if the lead was added with it',
				},
			],
			default: 'email',
			description: 'How to find the lead',
			displayOptions: { show: { resource: [resource], operation } },
		},
		email(show('email'), 'The address of the lead'),
		{
			displayName: 'Code',
			name: 'code',
			type: 'string',
			placeholder: 'e.g. MAYA7QK2',
			required: true,
			default: '',
			description: "The lead's own code, not that of the referrer",
			displayOptions: { show: show('code') },
			routing: send('code'),
		},
		{
			displayName: 'Coupon',
			name: 'coupon',
			type: 'string',
			placeholder: 'e.g. WELCOME-4821',
			required: true,
			default: '',
			displayOptions: { show: show('coupon') },
			routing: send('coupon'),
		},
		{
			displayName: 'Lead',
			name: 'leadId',
			type: 'resourceLocator',
			required: true,
			default: { mode: 'list', value: '' },
			description: 'The lead to work with',
			...modes('getLeads', 'lead_01jd3x5w8me4qv9c2t7k6hz0ab'),
			displayOptions: { show: show('id') },
			routing: send('lead_id'),
		},
		{
			displayName: 'Your Own ID',
			name: 'leadExternalId',
			type: 'string',
			placeholder: 'e.g. customer-4711',
			required: true,
			default: '',
			displayOptions: { show: show('externalId') },
			routing: send('lead_external_id'),
		},
		campaign(show('email', 'coupon', 'externalId'), {
			description: 'The campaign that the lead is in. Without it, the lead must be in one campaign only.',
		}),
	];
};

/** A person by what they are known by. */
export const findBy = (show: Show): INodeProperties[] => [
	{
		displayName: 'Find By',
		name: 'findBy',
		type: 'options',
		options: [
			{ name: 'Code', value: 'code' },
			{ name: 'Email', value: 'email' },
			{ name: 'Your Own ID', value: 'external_id' },
		],
		default: 'email',
		displayOptions: { show: show },
	},
	{
		displayName: 'Value',
		name: 'findValue',
		type: 'string',
		required: true,
		default: '',
		placeholder: 'e.g. nathan@example.com',
		description: 'What to look for. Where nobody is found, no item comes out.',
		displayOptions: { show: show },
		routing: {
			send: { type: 'query', property: '={{ $parameter["findBy"] }}', value: '={{ String($value) }}' },
		},
	},
];
