import type {
	IDataObject,
	ILoadOptionsFunctions,
	INodeListSearchItems,
	INodeListSearchResult,
	INodePropertyOptions,
} from 'n8n-workflow';

import { apiRequest } from './transport';

const PAGE = 100;

/** A page of a list of the server, as a drop-down shows it. */
async function page(
	this: ILoadOptionsFunctions,
	path: string,
	label: (row: IDataObject) => string,
	qs: IDataObject,
): Promise<INodeListSearchResult> {
	const answer = await apiRequest.call(this, 'GET', path, { qs });
	return {
		results: ((answer?.data ?? []) as IDataObject[]).map((row) => ({
			name: label(row),
			value: row.id as string,
		})),
		paginationToken: (answer?.next_cursor ?? undefined) as string | undefined,
	};
}

const query = (filter?: string, cursor?: string): IDataObject => ({
	limit: PAGE,
	...(filter ? { search: filter } : {}),
	...(cursor ? { cursor } : {}),
});

/** The campaign that is chosen in the node, if it has one. */
function chosenCampaign(this: ILoadOptionsFunctions): IDataObject {
	const campaign = this.getCurrentNodeParameter('campaign', { extractValue: true }) as string | undefined;
	return campaign ? { campaign_id: campaign } : {};
}

const person = (row: IDataObject) => {
	const email = row.email as string;
	const name = (row.name as string) || email;
	const campaign = (row.campaign as IDataObject | undefined)?.name as string | undefined;
	return [name === email ? email : `${name} (${email})`, campaign].filter(Boolean).join(' · ');
};

const named = (row: IDataObject) => row.name as string;

/** Every key may ask for the names, also one that only reports. */
export async function getCampaigns(
	this: ILoadOptionsFunctions,
	filter?: string,
	cursor?: string,
): Promise<INodeListSearchResult> {
	return await page.call(this, '/campaigns/names', named, query(filter, cursor));
}

export async function getReferrers(
	this: ILoadOptionsFunctions,
	filter?: string,
	cursor?: string,
): Promise<INodeListSearchResult> {
	return await page.call(this, '/referrers', person, query(filter, cursor));
}

export async function getLeads(
	this: ILoadOptionsFunctions,
	filter?: string,
	cursor?: string,
): Promise<INodeListSearchResult> {
	return await page.call(this, '/leads', person, query(filter, cursor));
}

export async function getRewards(
	this: ILoadOptionsFunctions,
	filter?: string,
	cursor?: string,
): Promise<INodeListSearchResult> {
	const label = (row: IDataObject) => {
		const beneficiary = (row.beneficiary ?? {}) as IDataObject;
		const state = String(row.state).replace(/_/g, ' ');
		return [row.name, beneficiary.name || beneficiary.email, state].filter(Boolean).join(' · ');
	};
	return await page.call(this, '/rewards', label, query(filter, cursor));
}

export async function getRewardDefinitions(
	this: ILoadOptionsFunctions,
	filter?: string,
	cursor?: string,
): Promise<INodeListSearchResult> {
	const qs = { ...query(filter, cursor), order: 'asc', ...chosenCampaign.call(this) };
	return await page.call(this, '/reward-definitions', named, qs);
}

/** The sources that people have come from so far. */
export async function getSources(
	this: ILoadOptionsFunctions,
	filter?: string,
): Promise<INodeListSearchResult> {
	const qs = { by: 'source', ...chosenCampaign.call(this) };
	const answer = await apiRequest.call(this, 'GET', '/statistics/series', { qs });
	const wanted = (filter ?? '').toLowerCase();
	const results = ((answer?.data ?? []) as IDataObject[])
		.map((row): INodeListSearchItems => ({ name: row.label as string, value: row.key as string }))
		.filter(({ name, value }) => value !== '' && name.toLowerCase().includes(wanted));
	return { results };
}

/** Every type of event that the server knows. */
export async function getEventTypes(this: ILoadOptionsFunctions): Promise<INodePropertyOptions[]> {
	const answer = await apiRequest.call(this, 'GET', '/event-types');
	return ((answer?.data ?? []) as IDataObject[]).map((row) => ({
		name: row.label as string,
		value: row.type as string,
		description: row.description as string,
	}));
}

export const listSearch = {
	getCampaigns,
	getLeads,
	getReferrers,
	getRewardDefinitions,
	getRewards,
	getSources,
};
