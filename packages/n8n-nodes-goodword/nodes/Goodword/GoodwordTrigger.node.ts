import {
	NodeConnectionTypes,
	type IDataObject,
	type IHookFunctions,
	type INodeType,
	type INodeTypeDescription,
	type IWebhookFunctions,
	type IWebhookResponseData,
} from 'n8n-workflow';

import { modes } from './descriptions/common';
import { getCampaigns, getEventTypes, getRewardDefinitions, getSources } from './search';
import { refusal } from './signature';
import { apiRequest } from './transport';

/** What n8n keeps between activation and deactivation. */
interface Kept {
	endpointId?: string;
	secret?: string;
	url?: string;
}

/** The endpoint that this node wants to have on the server. */
function wanted(this: IHookFunctions) {
	// One that is not shown is not there, and n8n extracts no value from it.
	const filter = (name: string) =>
		name in this.getNode().parameters
			? (this.getNodeParameter(name, '', { extractValue: true }) as string) || null
			: null;
	return {
		url: this.getNodeWebhookUrl('default') as string,
		event_types: this.getNodeParameter('events') as string[],
		campaign_id: filter('campaign'),
		person_source: filter('source'),
		reward_definition_id: filter('reward'),
	};
}

/** Sources as the server keeps them: without the spaces around each. */
const asKept = (sources: string | null) =>
	sources && sources.split(',').map((source) => source.trim()).join(',');

const sorted = (types: unknown) => JSON.stringify([...((types ?? []) as string[])].sort());

export class GoodwordTrigger implements INodeType {
	description: INodeTypeDescription = {
		displayName: 'Goodword Trigger',
		name: 'goodwordTrigger',
		icon: { light: 'file:../../icons/goodword.svg', dark: 'file:../../icons/goodword.dark.svg' },
		group: ['trigger'],
		version: 1,
		subtitle: '={{$parameter["events"].join(", ")}}',
		description:
			'Starts the workflow when a friend joins, a referral is qualified, a reward is issued, or anything else happens',
		defaults: { name: 'Goodword Trigger' },
		inputs: [],
		outputs: [NodeConnectionTypes.Main],
		credentials: [{ name: 'goodwordApi', required: true }],
		webhooks: [{ name: 'default', httpMethod: 'POST', responseMode: 'onReceived', path: 'goodword' }],
		properties: [
			{
				displayName: 'Event Names or IDs',
				name: 'events',
				type: 'multiOptions',
				required: true,
				typeOptions: { loadOptionsMethod: 'getEventTypes' },
				default: ['lead.created'],
				description:
					'What starts the workflow. Choose from the list, or specify IDs using an <a href="https://docs.n8n.io/code/expressions/">expression</a>.',
			},
			{
				displayName: 'Campaign',
				name: 'campaign',
				type: 'resourceLocator',
				default: { mode: 'list', value: '' },
				description: 'Only events of this campaign. Leave empty for all.',
				...modes('getCampaigns', 'cmp_01jd3x5w8me4qv9c2t7k6hz0ab'),
			},
			{
				displayName: 'Source',
				name: 'source',
				type: 'resourceLocator',
				default: { mode: 'list', value: '' },
				description: 'Only events about people who came from there. Leave empty for all.',
				...modes('getSources', 'link'),
			},
			{
				displayName: 'Reward',
				name: 'reward',
				type: 'resourceLocator',
				default: { mode: 'list', value: '' },
				description: 'Only events about this reward. Leave empty for all.',
				...modes('getRewardDefinitions', 'rdf_01jd3x5w8me4qv9c2t7k6hz0ab'),
				// Where every chosen event is about a reward: the others are about none, and would never come.
				displayOptions: { show: { events: [{ _cnd: { startsWith: 'reward.' } }] } },
			},
		],
	};

	methods = {
		listSearch: { getCampaigns, getRewardDefinitions, getSources },
		loadOptions: { getEventTypes },
	};

	webhookMethods = {
		default: {
			/** The server is asked: what n8n remembers may be long gone there. */
			async checkExists(this: IHookFunctions): Promise<boolean> {
				const kept: Kept = this.getWorkflowStaticData('node');
				if (!kept.endpointId || !kept.secret) return false;
				const found = await apiRequest.call(this, 'GET', `/endpoints/${kept.endpointId}`, {
					gone: [404],
				});
				if (!found) return false;
				const want = wanted.call(this);
				return (
					(found.status === 'active' || found.status === 'failing') &&
					kept.url === want.url &&
					(found.campaign_id ?? null) === want.campaign_id &&
					(found.person_source ?? null) === asKept(want.person_source) &&
					(found.reward_definition_id ?? null) === want.reward_definition_id &&
					sorted(found.event_types) === sorted(want.event_types)
				);
			},

			/** The same address under the same key replaces what is there. */
			async create(this: IHookFunctions): Promise<boolean> {
				const body: IDataObject = {
					...wanted.call(this),
					source: 'n8n',
					description: `n8n: ${(this.getWorkflow().name ?? '').replace(/\s+/g, ' ').slice(0, 400)}`,
				};
				const made = await apiRequest.call(this, 'POST', '/endpoints', { body });
				const kept: Kept = this.getWorkflowStaticData('node');
				kept.endpointId = made?.id as string;
				kept.secret = made?.secret as string;
				kept.url = body.url as string;
				return true;
			},

			async delete(this: IHookFunctions): Promise<boolean> {
				const kept: Kept = this.getWorkflowStaticData('node');
				if (kept.endpointId) {
					await apiRequest.call(this, 'DELETE', `/endpoints/${kept.endpointId}`, { gone: [404] });
				}
				delete kept.endpointId;
				delete kept.secret;
				delete kept.url;
				return true;
			},
		},
	};

	async webhook(this: IWebhookFunctions): Promise<IWebhookResponseData> {
		const kept: Kept = this.getWorkflowStaticData('node');
		const headers = this.getHeaderData();
		const refused = refusal(
			kept.secret,
			{
				id: headers['webhook-id'],
				timestamp: headers['webhook-timestamp'],
				signature: headers['webhook-signature'],
				body: this.getRequestObject().rawBody,
			},
			Date.now() / 1000,
		);
		if (refused) {
			this.getResponseObject().status(401).json({ message: refused }).end();
			return { noWebhookResponse: true };
		}
		const event = this.getBodyData();
		// The test of an endpoint comes unasked, and the person in it is invented. n8n answers it with 200.
		if (!(this.getNodeParameter('events') as string[]).includes(event.type as string)) return {};
		return { workflowData: [this.helpers.returnJsonArray(event)] };
	}
}
