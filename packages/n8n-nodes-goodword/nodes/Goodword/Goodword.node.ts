import { NodeConnectionTypes, type INodeType, type INodeTypeDescription } from 'n8n-workflow';

import { apiCallProperties } from './descriptions/apiCall';
import { campaignProperties } from './descriptions/campaign';
import { conversionProperties } from './descriptions/conversion';
import { leadProperties } from './descriptions/lead';
import { referrerProperties } from './descriptions/referrer';
import { rewardProperties } from './descriptions/reward';
import { listSearch } from './search';

export class Goodword implements INodeType {
	description: INodeTypeDescription = {
		displayName: 'Goodword',
		name: 'goodword',
		icon: { light: 'file:../../icons/goodword.svg', dark: 'file:../../icons/goodword.dark.svg' },
		group: ['output'],
		version: 1,
		subtitle: '={{$parameter["operation"] + ": " + $parameter["resource"]}}',
		description: 'Add users to referral campaigns, qualify leads, record conversions and issue rewards',
		defaults: { name: 'Goodword' },
		usableAsTool: true,
		inputs: [NodeConnectionTypes.Main],
		outputs: [NodeConnectionTypes.Main],
		credentials: [{ name: 'goodwordApi', required: true }],
		requestDefaults: {
			baseURL: '={{$credentials.serverUrl.trim().replace(/\\/+$/, "")}}',
			headers: { Accept: 'application/json', 'Content-Type': 'application/json' },
			// The server says what is wrong and what to do: its words are shown.
			ignoreHttpStatusErrors: true,
		},
		properties: [
			{
				displayName: 'Resource',
				name: 'resource',
				type: 'options',
				noDataExpression: true,
				options: [
					{ name: 'API Call', value: 'apiCall' },
					{ name: 'Campaign', value: 'campaign' },
					{ name: 'Conversion', value: 'conversion' },
					{ name: 'Lead', value: 'lead' },
					{ name: 'Referrer', value: 'referrer' },
					{ name: 'Reward', value: 'reward' },
				],
				default: 'lead',
			},
			...apiCallProperties,
			...campaignProperties,
			...conversionProperties,
			...leadProperties,
			...referrerProperties,
			...rewardProperties,
		],
	};

	methods = { listSearch };
}
