import { get, post, rows } from './api.js';
import { campaign } from './fields.js';
import { outputFields } from './output.js';
import { events } from './samples.js';
import { isSigned } from './signature.js';

const filters = [
	campaign({ helpText: 'Only events of this campaign. Leave empty for all.' }),
	{
		key: 'person_source',
		label: 'Source',
		type: 'string',
		dynamic: 'source_list.id.name',
		helpText: 'Only events about people who came from there. Leave empty for all.',
	},
];

const definition = {
	key: 'definition_id',
	label: 'Reward',
	type: 'string',
	dynamic: 'reward_definition_list.id.name',
	helpText: 'Only this reward of your campaigns. Leave empty for all.',
};

// The server tells of every reward on its way out. Without this choice a Zap would issue again
// what is issued by hand.
const externalDefinition = {
	...definition,
	required: true,
	dynamic: 'external_reward_list.id.name',
	helpText: 'The reward that this Zap issues. Its issuing method must be `external`.',
};

const types = {
	key: 'event_types',
	label: 'Events',
	type: 'string',
	list: true,
	required: true,
	dynamic: 'event_type_list.id.name',
};

/**
 * What the server does not filter everywhere: the feed knows no person's source, and neither it nor
 * hooks the reward. A test that somebody sends to the endpoint has a type of its own.
 */
const wanted = (bundle, types) => {
	const { definition_id, person_source } = bundle.inputData;
	return ({ type, data }) =>
		types.includes(type) &&
		(!definition_id || data.reward?.definition_id === definition_id) &&
		(!person_source || (data.lead ?? data.referrer ?? data.visit)?.source === person_source);
};

/** The newest 250 events, the newest first. */
const feed = async (z, bundle, typesOf) => {
	const types = typesOf(bundle);
	const params = { type: types.join(','), campaign_id: bundle.inputData.campaign_id };
	return (await rows(z, '/v1/events', params, 250)).filter(wanted(bundle, types));
};

/** A trigger by REST hook. Samples and the editor's tests come from the feed of events: the same documents, byte for byte. */
const hook = ({ key, noun, label, description, typesOf, inputFields, sample }) => ({
	key,
	noun,
	display: { label, description },
	operation: {
		type: 'hook',
		inputFields,
		performSubscribe: (z, bundle) =>
			post(z, '/v1/endpoints', {
				url: bundle.targetUrl,
				event_types: typesOf(bundle),
				campaign_id: bundle.inputData.campaign_id,
				person_source: bundle.inputData.person_source,
				description: `Zapier: ${label}`,
				source: 'zapier',
			}),
		performUnsubscribe: async (z, bundle) => {
			await z.request({ method: 'DELETE', url: `/v1/endpoints/${bundle.subscribeData.id}` });
			return {};
		},
		perform: (z, bundle) => {
			if (!isSigned(bundle.subscribeData?.secret, bundle.rawRequest)) {
				throw new z.errors.HaltedError(
					'This message is not signed by your Goodword server. If it was: its secret has been rotated there. Turn the Zap off and on.',
				);
			}
			return [bundle.cleanedRequest].filter(wanted(bundle, typesOf(bundle)));
		},
		performList: async (z, bundle) => {
			const found = await feed(z, bundle, typesOf);
			if (found.length) return found;
			// Nothing of the kind has happened yet: the server's example has the shape of it.
			return [await get(z, `/v1/event-types/${typesOf(bundle)[0]}/sample`)];
		},
		sample,
		outputFields: outputFields(sample),
	},
});

const about = (key, noun, type, more = []) => {
	const { label, description, example } = events[type];
	return hook({ key, noun, label, description, typesOf: () => [type], inputFields: [...filters, ...more], sample: example });
};

const chosen = (bundle) => [bundle.inputData.event_types].flat();
const anything = events['lead.created'].example;

const polled = {
	key: 'any_event_polled',
	noun: 'Event',
	display: {
		label: 'Any Event (Polling)',
		description: 'Triggers when something happens, found by asking every few minutes, for servers that cannot reach Zapier.',
	},
	operation: {
		type: 'polling',
		inputFields: [types, ...filters],
		perform: (z, bundle) => feed(z, bundle, chosen),
		sample: anything,
		outputFields: outputFields(anything),
	},
};

/** Drop-downs: hidden triggers whose rows have an id and a name. */
const list = (key, noun, perform) => ({
	key,
	noun,
	display: { label: `List of ${noun}s`, description: `Fills the drop-down of ${noun.toLowerCase()}s.`, hidden: true },
	operation: { type: 'polling', perform, sample: { id: 'id', name: 'Name' } },
});

const chosenCampaign = (bundle) => ({ campaign_id: bundle.inputData.campaign_id });

const lists = [
	list('campaign_list', 'Campaign', async (z) =>
		(await rows(z, '/v1/campaigns')).map(({ id, name, status }) => ({ id, name: status === 'live' ? name : `${name} (${status})` })),
	),
	list('reward_definition_list', 'Reward Definition', async (z, bundle) =>
		(await get(z, '/v1/reward-definitions', chosenCampaign(bundle))).data.map(({ id, name }) => ({ id, name })),
	),
	list('external_reward_list', 'Reward Issued by Automations', async (z) =>
		(await get(z, '/v1/reward-definitions')).data.filter(({ issuing }) => issuing === 'external').map(({ id, name }) => ({ id, name })),
	),
	list('source_list', 'Source', async (z, bundle) =>
		(await get(z, '/v1/statistics/series', { by: 'source', ...chosenCampaign(bundle) })).data.map(({ key, label }) => ({ id: key, name: label })),
	),
	list('event_type_list', 'Event Type', async (z) => (await get(z, '/v1/event-types')).data.map(({ type, label }) => ({ id: type, name: label }))),
	list('reward_list', 'Reward', async (z) =>
		(await rows(z, '/v1/rewards')).map(({ id, name, beneficiary, state }) => ({
			id,
			name: [name, beneficiary.name || beneficiary.email, state.replaceAll('_', ' ')].join(' · '),
		})),
	),
];

export const triggers = [
	about('new_referral', 'Referral', 'lead.created'),
	about('new_referrer', 'Referrer', 'referrer.created'),
	about('referral_qualified', 'Referral', 'lead.qualified'),
	about('conversion_recorded', 'Conversion', 'conversion.recorded'),
	about('reward_in_review', 'Reward', 'reward.in_review', [definition]),
	about('reward_to_issue', 'Reward', 'reward.issuing', [externalDefinition]),
	about('reward_issued', 'Reward', 'reward.issued', [definition]),
	hook({
		key: 'any_event',
		noun: 'Event',
		label: 'Any Event',
		description: 'Triggers when one of the events happens that you choose.',
		typesOf: chosen,
		inputFields: [types, ...filters],
		sample: anything,
	}),
	polled,
	...lists,
];
