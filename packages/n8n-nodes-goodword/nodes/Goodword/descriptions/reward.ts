import type { INodeProperties, INodePropertyOptions } from 'n8n-workflow';

import {
	campaign,
	idOf,
	listFilters,
	many,
	modes,
	note,
	one,
	operations,
	options,
	paging,
	searchFilter,
	send,
	which,
} from './common';

const resource = 'reward';
const show = (...operation: string[]) => ({ resource: [resource], operation });

const act = (name: string, value: string, action: string, description: string): INodePropertyOptions => ({
	name,
	value,
	action,
	description,
	routing: one('POST', `=/v1/rewards/${idOf('rewardId')}/${value}`),
});

const acts = ['approve', 'cancel', 'confirm', 'fail', 'hold', 'issue', 'reject', 'retry', 'reverse'];

export const rewardProperties: INodeProperties[] = [
	operations(
		resource,
		[
			act('Approve', 'approve', 'Approve a reward', 'Approve a reward that is due, on hold or in review'),
			act('Cancel', 'cancel', 'Cancel a reward', 'Cancel a reward before it is issued'),
			act('Confirm', 'confirm', 'Confirm a reward', 'Report that a reward was issued by this automation'),
			act('Fail', 'fail', 'Fail a reward', 'Report that a reward could not be issued by this automation'),
			{
				name: 'Get',
				value: 'get',
				action: 'Get a reward',
				description: 'Retrieve a reward with its history and what can be done with it',
				routing: one('GET', `=/v1/rewards/${idOf('rewardId')}`),
			},
			{
				name: 'Get Many',
				value: 'getAll',
				action: 'Get many rewards',
				description: 'Retrieve a list of rewards',
				routing: many('/v1/rewards'),
			},
			act('Hold', 'hold', 'Hold a reward', 'Hold a reward until somebody has looked at it'),
			act('Issue', 'issue', 'Issue a reward', 'Issue an approved reward'),
			act('Reject', 'reject', 'Reject a reward', 'Reject a reward after review'),
			act('Retry', 'retry', 'Retry a reward', 'Try to issue a failed reward again'),
			act('Reverse', 'reverse', 'Reverse a reward', 'Take an issued reward back, in part or in full'),
		],
		'getAll',
	),
	which(resource, ['get', ...acts]),
	options(
		resource,
		acts.filter((name) => name !== 'reverse'),
		[note('Why; kept with the decision')],
	),
	options(
		resource,
		['reverse'],
		[
			{
				displayName: 'Amount in Cents',
				name: 'amountMinor',
				type: 'number',
				default: 0,
				description:
					'How much to take back, in the smallest unit of the currency. Without it, all that is left.',
				routing: { send: { type: 'body', property: 'amount_minor', value: '={{ $value || undefined }}' } },
			},
			note('Why; kept with the decision'),
		],
	),
	campaign(show('getAll'), { type: 'query', description: 'Only in this campaign. Leave empty for all.' }),
	{
		displayName: 'Reward Definition',
		name: 'definition',
		type: 'resourceLocator',
		default: { mode: 'list', value: '' },
		description: 'Only rewards of this definition. Leave empty for all.',
		...modes('getRewardDefinitions', 'rdf_01jd3x5w8me4qv9c2t7k6hz0ab'),
		displayOptions: { show: show('getAll') },
		routing: send('definition_id', 'query'),
	},
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
			{
				displayName: 'Kind',
				name: 'kind',
				type: 'options',
				options: [
					{ name: 'Commission', value: 'commission' },
					{ name: 'Coupon', value: 'coupon' },
					{ name: 'Custom', value: 'custom' },
					{ name: 'Fixed', value: 'fixed' },
				],
				default: 'fixed',
				routing: send('kind', 'query'),
			},
			{
				displayName: 'Lead ID',
				name: 'leadId',
				type: 'string',
				default: '',
				description: 'Rewards that this lead gave cause for',
				routing: send('lead_id', 'query'),
			},
			{
				displayName: 'Referrer ID',
				name: 'referrerId',
				type: 'string',
				default: '',
				description: 'Rewards for this referrer',
				routing: send('referrer_id', 'query'),
			},
			searchFilter('the coupon, the cause or the note'),
			{
				displayName: 'State',
				name: 'state',
				type: 'options',
				options: [
					{ name: 'Approved', value: 'approved' },
					{ name: 'Cancelled', value: 'cancelled' },
					{ name: 'Due', value: 'due' },
					{ name: 'Failed', value: 'failed' },
					{ name: 'In Review', value: 'in_review' },
					{ name: 'Issued', value: 'issued' },
					{ name: 'Issuing', value: 'issuing' },
					{ name: 'On Hold', value: 'on_hold' },
					{ name: 'Rejected', value: 'rejected' },
					{ name: 'Reversed', value: 'reversed' },
				],
				default: 'in_review',
				routing: send('state', 'query'),
			},
		],
	},
];
