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
		helpText: 'Only events about people who came from there. Several go with commas between, as a custom value. Leave empty for all.',
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

/** The words of the filter by source: one, or several with commas. */
const sources = ({ inputData }) => (inputData.person_source ?? '').split(',').map((word) => word.trim()).filter(Boolean);

/** Who an event is about whose source counts, as the server sees it: a visitor is nobody yet, but has come in some way. */
const person = ({ data }) => data.visit ?? data.lead ?? data.referrer;

/**
 * What starts the Zap. Of a hook, the server has filtered everything but two: the test that somebody sends to the
 * endpoint has a type of its own, and the endpoint of a Zap that was turned on by an older version has no reward.
 * The feed knows neither sources nor rewards, and still has the events of people who were erased.
 */
const wanted = (bundle, types) => {
	const { definition_id } = bundle.inputData;
	const from = sources(bundle);
	return (event) => {
		const { type, data } = event;
		const about = person(event);
		return (
			types.includes(type) &&
			!data.erased &&
			(!definition_id || data.reward?.definition_id === definition_id) &&
			(!from.length || !about || from.includes(about.source))
		);
	};
};

/** The newest 250 events, the newest first. */
const feed = async (z, bundle, typesOf) => {
	const types = typesOf(bundle);
	const newest = (source) => rows(z, '/v1/events', { type: types.join(','), campaign_id: bundle.inputData.campaign_id, source }, 250);
	const found = (await newest()).filter(wanted(bundle, types));
	const from = sources(bundle);
	if (!from.length || found.every(person)) return found;
	// What is about nobody goes by where it was told. Its document does not say that, but the server finds it by it.
	const told = new Set((await Promise.all(from.map(newest))).flat().map(({ id }) => id));
	return found.filter((event) => person(event) || told.has(event.id));
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
				person_source: sources(bundle).join(',') || undefined,
				reward_definition_id: bundle.inputData.definition_id,
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
		(await rows(z, '/v1/reward-definitions', { order: 'asc', ...chosenCampaign(bundle) })).map(({ id, name }) => ({ id, name })),
	),
	list('external_reward_list', 'Reward Issued by Automations', async (z) =>
		(await rows(z, '/v1/reward-definitions', { order: 'asc' })).filter(({ issuing }) => issuing === 'external').map(({ id, name }) => ({ id, name })),
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
