import { get } from './api.js';
import { findBy } from './fields.js';
import { outputFields } from './output.js';
import * as samples from './samples.js';

const search = (noun, path, sample) => ({
	key: `find_${noun.toLowerCase()}`,
	noun,
	display: { label: `Find ${noun}`, description: `Finds a ${noun.toLowerCase()} by email, code or your own reference.` },
	operation: {
		inputFields: findBy,
		perform: async (z, bundle) => {
			const { find_by, find_value, campaign_id } = bundle.inputData;
			return (await get(z, path, { [find_by]: find_value, campaign_id })).data;
		},
		sample,
		outputFields: outputFields(sample),
	},
});

export const searches = [search('Lead', '/v1/leads', samples.lead), search('Referrer', '/v1/referrers', samples.referrer)];

const orCreate = (search, create, label, description) => ({ key: search, display: { label, description }, search, create });

export const searchOrCreates = [
	orCreate('find_lead', 'add_lead', 'Find or Add Lead', 'Finds a lead, or adds one where there is none.'),
	orCreate('find_referrer', 'add_user', 'Find or Add User', 'Finds a referrer, or adds one where there is none.'),
];
