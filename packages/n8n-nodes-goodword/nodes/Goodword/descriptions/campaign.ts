import type { INodeProperties } from 'n8n-workflow';

import { idOf, listFilters, many, one, operations, paging, searchFilter, send, which } from './common';

const resource = 'campaign';

export const campaignProperties: INodeProperties[] = [
	operations(
		resource,
		[
			{
				name: 'Get',
				value: 'get',
				action: 'Get a campaign',
				description: 'Retrieve a campaign with its rule and rewards',
				routing: one('GET', `=/v1/campaigns/${idOf('campaignId')}`),
			},
			{
				name: 'Get Many',
				value: 'getAll',
				action: 'Get many campaigns',
				description: 'Retrieve a list of campaigns',
				routing: many('/v1/campaigns'),
			},
		],
		'getAll',
	),
	which(resource, ['get']),
	...paging(resource),
	{
		displayName: 'Filters',
		name: 'filters',
		type: 'collection',
		placeholder: 'Add Filter',
		default: {},
		displayOptions: { show: { resource: [resource], operation: ['getAll'] } },
		options: [
			...listFilters,
			searchFilter('the name or code'),
			{
				displayName: 'Status',
				name: 'status',
				type: 'options',
				options: [
					{ name: 'Draft', value: 'draft' },
					{ name: 'Ended', value: 'ended' },
					{ name: 'Live', value: 'live' },
					{ name: 'Paused', value: 'paused' },
				],
				default: 'live',
				routing: send('status', 'query'),
			},
		],
	},
];
