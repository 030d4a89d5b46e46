// End to end, with the real n8n and the real Goodword server:
//   N8N=…/n8n/bin/n8n TARBALL=…/n8n-nodes-goodword-0.1.0.tgz GOODWORD=…/goodword node e2e.mjs
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { Agent, freePort, Goodword, N8n, Sink, Tests, until } from './harness.mjs';
import { action, chain, CREDENTIAL, hook, picked, trigger } from './workflows.mjs';

const { N8N, TARBALL, GOODWORD, KEEP } = process.env;
const here = import.meta.dirname;
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'goodword-n8n-'));
const tests = new Tests();
const sink = new Sink();
const goodword = new Goodword(GOODWORD, path.join(folder, 'goodword'), await freePort());
const n8n = new N8n({
	n8n: N8N,
	folder: path.join(folder, 'n8n'),
	port: await freePort(),
	brokerPort: await freePort(),
});

/** The value of a node of the same workflow, as an expression. */
const of = (node, member) => `={{ $('${node}').first().json.${member} }}`;
const byId = (node, member = 'id') => picked(of(node, member), 'id');
const fields = (...pairs) => ({ field: pairs.map(([key, value]) => ({ key, value })) });

async function prepareGoodword() {
	await sink.start();
	await goodword.start(['--allow-networks', '127.0.0.0/8']);
	const euros = (amount) => ({ amount, currency: 'EUR' });
	const spring = await goodword.post('/v1/campaigns', {
		name: 'Spring',
		status: 'live',
		currency: 'EUR',
		rule: { minimum_spend: euros('50.00'), direct: true },
		referrer_fields: [{ key: 'company', label: 'Company' }],
		rewards: [
			{ name: '20 EUR for you', beneficiary: 'referrer', review: 'always', value: { type: 'fixed', amount: euros('20.00') } },
			{ name: 'Points', beneficiary: 'referrer', review: 'never', auto_issue: true, issuing: 'external', value: { type: 'custom', metric: 'points', units: 100 } },
			{ name: 'Welcome', beneficiary: 'lead', review: 'never', auto_issue: true, trigger: 'joined', value: { type: 'coupon' } },
		],
	});
	const partners = await goodword.post('/v1/campaigns', { name: 'Partners', status: 'live', currency: 'EUR' });
	const definition = (name) => spring.rewards.find((reward) => reward.name === name).id;
	await goodword.post(`/v1/reward-definitions/${definition('Welcome')}/coupons`, {
		codes: Array.from({ length: 50 }, (_, index) => `WELCOME-${index + 100}`),
	});
	return { spring, partners, definition };
}

const { spring, partners, definition } = await prepareGoodword().catch(async (error) => {
	await goodword.stop();
	sink.stop();
	throw error;
});
const inSpring = picked(spring.id);

// ---------------------------------------------------------------- the actions

/** Every operation, one after the other: node, what it does, what must have come out. */
const steps = [
	[action('Campaigns', 'campaign', 'getAll', { returnAll: true, filters: { status: 'live' } }), (items) => assert.deepEqual(items.map((item) => item.name).sort(), ['Partners', 'Spring'])],
	[action('Campaign', 'campaign', 'get', { campaignId: inSpring }), ([item]) => assert.equal(item.rewards.length, 3)],

	[
		action('Add User', 'referrer', 'add', {
			campaign: inSpring,
			email: 'priya@example.com',
			additionalFields: { code: 'PRIYA24', firstName: 'Priya', lastName: 'Shah', externalId: 'customer-1', fields: fields(['company', 'Northlight']) },
		}),
		([item]) => {
			assert.equal(item.created, true);
			assert.equal(item.code, 'PRIYA24');
			assert.equal(item.source, 'n8n');
			assert.equal(item.fields.company, 'Northlight');
			assert.match(item.referral_link, /PRIYA24/);
		},
	],
	[action('Add User again', 'referrer', 'add', { campaign: inSpring, email: 'priya@example.com' }), ([item]) => assert.equal(item.created, false)],
	[action('Get referrer', 'referrer', 'get', { referrerId: byId('Add User') }), ([item]) => assert.equal(item.email, 'priya@example.com')],
	[action('Find referrer', 'referrer', 'find', { findBy: 'external_id', findValue: 'customer-1', campaign: inSpring }), (items) => assert.deepEqual(items.map((item) => item.code), ['PRIYA24'])],
	[action('Find nobody', 'referrer', 'find', { findBy: 'email', findValue: 'nobody@example.com' }), ([item]) => assert.deepEqual(item, {})],
	[action('Update referrer', 'referrer', 'update', { referrerId: byId('Add User'), updateFields: { lastName: 'Shah-Lee' } }), ([item]) => assert.equal(item.name, 'Priya Shah-Lee')],
	[action('Add User elsewhere', 'referrer', 'add', { campaign: picked(partners.id, 'id'), email: 'gone@example.com', additionalFields: { source: 'newsletter' } }), ([item]) => assert.equal(item.source, 'newsletter')],
	[action('Delete referrer', 'referrer', 'delete', { referrerId: byId('Add User elsewhere') }), ([item]) => assert.deepEqual(item, { deleted: true })],
	[action('Many referrers', 'referrer', 'getAll', { returnAll: true, campaign: picked(partners.id), source: picked('seed'), filters: { order: 'asc' } }), (items) => assert.equal(new Set(items.map((item) => item.id)).size, 260, 'all pages')],
	[action('Some referrers', 'referrer', 'getAll', { returnAll: false, limit: 3, source: picked('seed', 'id'), filters: { search: 'seed-1' } }), (items) => assert.equal(items.length, 3)],

	[action('Add lead', 'lead', 'add', { email: 'maya@example.com', referredBy: 'code', referralCode: 'PRIYA24', additionalFields: { firstName: 'Maya', source: 'partner-site' } }), ([item]) => assert.equal(item.lead.referrer.email, 'priya@example.com')],
	[action('Add lead by referrer', 'lead', 'add', { email: 'noah@example.com', referredBy: 'id', referrer: byId('Add User') }), ([item]) => assert.equal(item.created, true)],
	[action('Add lead by email', 'lead', 'add', { email: 'liam@example.com', referredBy: 'email', referrerEmail: 'priya@example.com', campaign: inSpring, additionalFields: { externalId: 'customer-4' } }), ([item]) => assert.equal(item.lead.source, 'n8n')],
	[action('Add lead with coupon', 'lead', 'add', { email: 'zoe@example.com', referredBy: 'code', referralCode: 'PRIYA24' }), ([item]) => assert.match(item.rewards[0].coupon, /^WELCOME-/)],
	[action('Add lead of the shop', 'lead', 'add', { email: 'omar@example.com', referredBy: 'code', referralCode: 'PRIYA24' }), ([item]) => assert.equal(item.lead.status, 'pending')],
	[action('Get lead', 'lead', 'get', { leadId: byId('Add lead', 'lead.id') }), ([item]) => assert.equal(item.first_name, 'Maya')],
	[action('Find lead', 'lead', 'find', { findBy: 'email', findValue: 'noah@example.com' }), ([item]) => assert.equal(item.referrer.code, 'PRIYA24')],
	[action('Pending leads', 'lead', 'getAll', { returnAll: true, campaign: inSpring, filters: { status: 'pending' } }), (items) => assert.equal(items.length, 5)],
	[action('Leads of a source', 'lead', 'getAll', { returnAll: true, source: picked('partner-site') }), (items) => assert.deepEqual(items.map((item) => item.email), ['maya@example.com'])],
	[action('Update lead', 'lead', 'update', { leadId: byId('Add lead', 'lead.id'), updateFields: { lastName: 'Rossi' } }), ([item]) => assert.equal(item.name, 'Maya Rossi')],

	[action('Qualify by id', 'lead', 'qualify', { leadBy: 'id', leadId: byId('Add lead', 'lead.id'), qualifyFields: { note: 'by hand', externalId: 'event-1' } }), ([item]) => assert.deepEqual([item.qualified, item.lead.status, item.repeated], [true, 'qualified', false])],
	[action('Qualify by id again', 'lead', 'qualify', { leadBy: 'id', leadId: byId('Add lead', 'lead.id'), qualifyFields: { note: 'by hand', externalId: 'event-1' } }), ([item]) => assert.equal(item.repeated, true)],
	[action('Qualify by code', 'lead', 'qualify', { leadBy: 'code', code: of('Add lead by referrer', 'lead.code') }), ([item]) => assert.equal(item.lead.email, 'noah@example.com')],
	[action('Qualify by own id', 'lead', 'qualify', { leadBy: 'externalId', leadExternalId: 'customer-4', campaign: inSpring }), ([item]) => assert.equal(item.lead.email, 'liam@example.com')],
	[action('Qualify by coupon', 'lead', 'qualify', { leadBy: 'coupon', coupon: of('Add lead with coupon', 'rewards[0].coupon') }), ([item]) => assert.equal(item.lead.email, 'zoe@example.com')],
	[action('Unqualify', 'lead', 'unqualify', { leadBy: 'email', email: 'zoe@example.com', campaign: inSpring }), ([item]) => assert.equal(item.lead.status, 'pending')],
	[action('Reject', 'lead', 'reject', { leadId: byId('Add lead with coupon', 'lead.id'), options: { note: 'a colleague' } }), ([item]) => assert.equal(item.lead.status, 'rejected')],
	[action('Restore', 'lead', 'restore', { leadId: byId('Add lead with coupon', 'lead.id') }), ([item]) => assert.equal(item.lead.status, 'pending')],
	[action('Qualify by email', 'lead', 'qualify', { leadBy: 'email', email: 'zoe@example.com', campaign: inSpring }), ([item]) => assert.equal(item.qualified, true)],

	[action('Record', 'conversion', 'record', { leadBy: 'email', email: 'omar@example.com', campaign: inSpring, externalId: 'order-1', amount: '46', amountIn: 'major', currency: 'eur' }), ([item]) => assert.deepEqual([item.qualified, item.conversion.amount.amount_minor], [false, 4600])],
	[action('Explain', 'lead', 'explain', { leadId: byId('Add lead of the shop', 'lead.id') }), ([item]) => assert.match(item.verdict, /4\.00 EUR/)],
	[
		action('Record in cents', 'conversion', 'record', {
			leadBy: 'id', leadId: byId('Add lead of the shop', 'lead.id'), externalId: 'order-2', amount: '={{ 400 }}', amountIn: 'minor', currency: 'EUR',
			additionalFields: { kind: 'invoice', properties: fields(['plan', 'pro']), source: 'shop', idempotencyKey: 'n8n-key-1', occurredAt: '={{ $now }}' },
		}),
		([item]) => assert.deepEqual([item.qualified, item.conversion.kind, item.conversion.properties.plan], [true, 'invoice', 'pro']),
	],
	[action('Record with JSON', 'conversion', 'record', { leadBy: 'id', leadId: byId('Add lead of the shop', 'lead.id'), externalId: 'order-3', amount: '5.50', amountIn: 'major', currency: 'EUR', additionalFields: { propertiesJson: '{"seats": 3}' } }), ([item]) => assert.equal(item.conversion.properties.seats, 3)],
	[action('Refund a part', 'conversion', 'refund', { conversionExternalId: 'order-3', refundWhat: 'amount', refundAmount: '1.50', amountIn: 'major', refundCurrency: 'EUR', refundFields: { externalId: 'refund-1' } }), ([item]) => assert.equal(item.conversion.refunded.amount, '1.50')],
	[action('Refund the rest', 'conversion', 'refund', { conversionExternalId: 'order-3', refundWhat: 'all' }), ([item]) => assert.equal(item.conversion.refunded.amount, '5.50')],
	[action('Get conversion', 'conversion', 'get', { conversionId: of('Record', 'conversion.id') }), ([item]) => assert.equal(item.external_id, 'order-1')],
	[action('Many conversions', 'conversion', 'getAll', { returnAll: true, filters: { leadId: of('Add lead of the shop', 'lead.id') } }), (items) => assert.equal(items.length, 3)],

	[action('In review', 'reward', 'getAll', { returnAll: true, campaign: inSpring, definition: picked(definition('20 EUR for you')), filters: { state: 'in_review', order: 'asc' } }), (items) => assert.equal(items.length, 5)],
	[action('Get reward', 'reward', 'get', { rewardId: byId('In review') }), ([item]) => assert.ok(item.history.length > 0)],
	[action('Approve', 'reward', 'approve', { rewardId: byId('In review'), options: { note: 'fine' } }), ([item]) => assert.equal(item.state, 'approved')],
	[action('Issue', 'reward', 'issue', { rewardId: byId('In review') }), ([item]) => assert.equal(item.state, 'issued')],
	[action('Reverse', 'reward', 'reverse', { rewardId: byId('In review'), options: { amountMinor: 500 } }), ([item]) => assert.equal(item.reversed.amount_minor, 500)],
	[action('Reject reward', 'reward', 'reject', { rewardId: picked("={{ $('In review').all()[1].json.id }}", 'id') }), ([item]) => assert.equal(item.state, 'rejected')],
	[action('Hold', 'reward', 'hold', { rewardId: picked("={{ $('In review').all()[2].json.id }}", 'id') }), ([item]) => assert.equal(item.state, 'on_hold')],
	[action('Cancel', 'reward', 'cancel', { rewardId: picked("={{ $('In review').all()[2].json.id }}", 'id') }), ([item]) => assert.equal(item.state, 'cancelled')],
	[action('To issue', 'reward', 'getAll', { returnAll: true, filters: { state: 'issuing', kind: 'custom', order: 'asc' } }), (items) => assert.ok(items.length >= 4)],
	[action('Fail', 'reward', 'fail', { rewardId: byId('To issue'), options: { note: 'the shop is closed' } }), ([item]) => assert.equal(item.state, 'failed')],
	[action('Retry', 'reward', 'retry', { rewardId: byId('To issue') }), ([item]) => assert.equal(item.state, 'issuing')],
	[action('Confirm', 'reward', 'confirm', { rewardId: byId('To issue') }), ([item]) => assert.equal(item.state, 'issued')],

	[action('Call', 'apiCall', 'request', { method: 'GET', path: '/v1/statistics', query: { parameter: [{ name: 'campaign_id', value: spring.id }] } }), ([item]) => assert.equal(item.leads, 5)],
	[action('Call with body', 'apiCall', 'request', { method: 'POST', path: '/v1/campaigns', body: '{"name": "Made in n8n"}' }), ([item]) => assert.equal(item.status, 'draft')],
	[action('Call to delete', 'apiCall', 'request', { method: 'DELETE', path: "=/v1/campaigns/{{ $('Call with body').first().json.id }}" }), ([item]) => assert.deepEqual(item, { done: true })],
	[action('Delete lead', 'lead', 'delete', { leadId: byId('Add lead', 'lead.id') }), ([item]) => assert.deepEqual(item, { deleted: true })],
];

/** What must say what is wrong, in the server's own words. */
const faults = [
	[action('No address', 'referrer', 'add', { campaign: inSpring, email: 'not an address' }), /e-mail address/],
	[action('No campaign', 'campaign', 'get', { campaignId: picked('cmp_01a1f9464aef77d3b60051ce2a9e4eed', 'id') }), /no such campaign|campaign/i],
	[action('Not approved', 'reward', 'confirm', { rewardId: picked('={{ $("Start").first().json.body.cancelled }}', 'id') }), /cancelled/i],
	[action('Elsewhere', 'apiCall', 'request', { method: 'GET', path: 'https://evil.example.com/v1/me' }), /must begin with \/v1\//],
	[action('Upwards', 'apiCall', 'request', { method: 'GET', path: '/v1/../metrics' }), /must begin with \/v1\//],
	[action('No JSON', 'apiCall', 'request', { method: 'POST', path: '/v1/campaigns', body: '{"name":' }), /JSON/],
];

// ---------------------------------------------------------------- the workflows

const LOOP = 'wfLoop0000000001';
const FILTERED = 'wfFiltered000001';
const ACTIONS = 'wfActions0000001';
const FAULTS = 'wfFaults00000001';
const REWARD = 'wfReward00000001';
const lenient = (node) => ({ ...node, onError: 'continueRegularOutput' });

const own = [
	// An event of the server starts it, and it changes the server.
	chain(LOOP, 'Qualified leads become partners', [
		trigger('Qualified', '11111111-2222-4333-8444-555555555501', { events: ['lead.qualified'], campaign: inSpring, source: picked('') }),
		action('Add to partners', 'referrer', 'add', {
			campaign: picked(partners.id),
			email: '={{ $json.data.lead.email }}',
			additionalFields: { firstName: '={{ $json.data.lead.first_name }}', source: 'loop' },
		}),
	]),
	chain(FILTERED, 'New referrals of one source', [
		trigger('Joined', '11111111-2222-4333-8444-555555555502', { events: ['lead.created', 'reward.issued'], campaign: picked('', 'list'), source: picked('trade-fair', 'id') }),
		{ name: 'Nothing', type: 'n8n-nodes-base.noOp', typeVersion: 1, parameters: {} },
	]),
	chain(REWARD, 'Points to give', [
		trigger('To give', '11111111-2222-4333-8444-555555555506', { events: ['reward.issuing', 'reward.issued'], reward: picked(definition('Points')) }),
		{ name: 'Nothing', type: 'n8n-nodes-base.noOp', typeVersion: 1, parameters: {} },
	]),
	chain(ACTIONS, 'Every action', [hook('every-action', '11111111-2222-4333-8444-555555555503'), ...steps.map(([node]) => node)]),
	chain(FAULTS, 'What is wrong', [hook('what-is-wrong', '11111111-2222-4333-8444-555555555504'), ...faults.map(([node]) => lenient(node))]),
];

/** What an agent may do, behind n8n's own MCP server. */
const TOOLS = 'wfTools000000001';
const fromAgent = (key, what) => `={{ $fromAI('${key}', '${what}', 'string') }}`;
const tools = {
	id: TOOLS,
	name: 'Tools for an agent',
	active: false,
	nodes: [
		{ id: 't0', name: 'MCP', type: '@n8n/n8n-nodes-langchain.mcpTrigger', typeVersion: 2, webhookId: '11111111-2222-4333-8444-555555555505', position: [0, 0], parameters: { path: 'goodword-tools' } },
		{
			...action('Add a friend', 'lead', 'add', { email: fromAgent('email', 'the address of the friend'), referredBy: 'code', referralCode: fromAgent('code', 'the code of the referrer') }),
			id: 't1',
			type: 'n8n-nodes-goodword.goodwordTool',
			position: [0, 200],
		},
	],
	connections: { 'Add a friend': { ai_tool: [[{ node: 'MCP', type: 'ai_tool', index: 0 }]] } },
	settings: { executionOrder: 'v1' },
};

const REPORTER = { id: 'goodwordCred0002', name: 'Goodword, to report only' };
const SMTP = { id: 'smtpCred00000001', name: 'SMTP' };

/** A template with credentials, and what cannot be reached from here put into our hands. */
function template(name, id) {
	const workflow = JSON.parse(fs.readFileSync(path.join(here, '../examples', `${name}.json`), 'utf8'));
	const nodes = workflow.nodes.map((original) => {
		const node = structuredClone(original);
		if (node.type.startsWith('n8n-nodes-goodword.')) node.credentials = { goodwordApi: CREDENTIAL };
		if (node.type === 'n8n-nodes-base.emailSend') node.credentials = { smtp: SMTP };
		if (node.type === 'n8n-nodes-base.httpRequest') node.parameters.url = `${sink.url}/crm`;
		if (node.type === 'n8n-nodes-base.slack') {
			// Slack itself is out of reach: the same expression is sent to the sink.
			const jsonBody = `={{ JSON.stringify({ text: \`${node.parameters.text.slice(1).replace(/\{\{/g, '${').replace(/\}\}/g, '}')}\` }) }}`;
			Object.assign(node, { type: 'n8n-nodes-base.httpRequest', typeVersion: 4.2, parameters: { method: 'POST', url: `${sink.url}/slack`, sendBody: true, specifyBody: 'json', jsonBody, options: {} } });
		}
		if (['n8n-nodes-base.stripeTrigger', 'n8n-nodes-base.typeformTrigger'].includes(node.type)) {
			// Neither can be registered from here: what they put out comes by a webhook.
			const kind = node.type.slice('n8n-nodes-base.'.length);
			Object.assign(node, { type: 'n8n-nodes-base.webhook', typeVersion: 2, parameters: { httpMethod: 'POST', path: kind, responseMode: 'lastNode', options: {} } });
		}
		return node;
	});
	// Where one came by a webhook, what was sent is in `body`.
	if (nodes.some((node) => node.type === 'n8n-nodes-base.webhook')) {
		for (const node of nodes.filter((each) => each.type.startsWith('n8n-nodes-goodword.'))) {
			node.parameters = JSON.parse(JSON.stringify(node.parameters).replaceAll('$json.', '$json.body.'));
		}
	}
	return { ...workflow, id, active: false, nodes };
}

const templates = {
	'slack-notice': 'wfTemplate000001',
	'crm-push': 'wfTemplate000002',
	'stripe-payment-qualifies': 'wfTemplate000003',
	'typeform-qualifies': 'wfTemplate000004',
	'reward-thank-you-mail': 'wfTemplate000005',
};

const credentialRows = [
	{ ...CREDENTIAL, type: 'goodwordApi', data: { serverUrl: `${goodword.url}/`, apiKey: goodword.liveKey } },
	{ ...REPORTER, type: 'goodwordApi', data: { serverUrl: goodword.url, apiKey: (await goodword.post('/v1/api-keys', { name: 'reporter', scopes: ['report'] })).secret } },
	{ ...SMTP, type: 'smtp', data: { host: '127.0.0.1', port: sink.smtpPort, secure: false, disableStartTls: true, user: '', password: '' } },
];

const nodeType = (name) => ({ name: `n8n-nodes-goodword.${name}`, version: 1 });
const search = async (node, method, at, { filter, parameters = {}, credential = CREDENTIAL } = {}) => {
	const answer = await n8n.rest('POST', '/dynamic-node-parameters/resource-locator-results', {
		path: `parameters.${at}`,
		methodName: method,
		nodeTypeAndVersion: nodeType(node),
		currentNodeParameters: parameters,
		credentials: { goodwordApi: credential },
		...(filter ? { filter } : {}),
	});
	return answer.results;
};

const triggers = [LOOP, FILTERED, REWARD, templates['slack-notice'], templates['crm-push'], templates['reward-thank-you-mail']];
const others = [ACTIONS, FAULTS, TOOLS, templates['stripe-payment-qualifies'], templates['typeform-qualifies']];

/** n8n registers the addresses of workflows after it says that it is ready. */
const activeAgain = () =>
	until('every trigger answers', async () => {
		const answers = await Promise.all((await goodword.endpoints()).map(({ url }) => fetch(url, { method: 'POST' })));
		return answers.every(({ status }) => status === 401);
	}, 120);

async function allTests() {
	await tests.must('n8n installs the packed package', () => {
		fs.mkdirSync(n8n.folder, { recursive: true });
		n8n.install(TARBALL);
	});

	await tests.must('n8n imports credentials, workflows and the ready-made templates as they are', () => {
		n8n.import('credentials', credentialRows);
		const raw = Object.keys(templates).map((name, index) => ({
			...JSON.parse(fs.readFileSync(path.join(here, '../examples', `${name}.json`), 'utf8')),
			id: `wfAsItIs0000000${index}`,
			active: false,
		}));
		assert.match(n8n.import('workflow', raw), /imported 5 workflows/i);
		n8n.import('workflow', [...own, tools, ...Object.entries(templates).map(([name, id]) => template(name, id))]);
	});

	await tests.must('on activation, each trigger registers its endpoint, with its filters', async () => {
		await n8n.start();
		await n8n.setUpOwner();
		for (const id of [...triggers, ...others]) await n8n.api('POST', `/workflows/${id}/activate`);
		const found = await until('an endpoint for each', async () => {
			const rows = await goodword.endpoints();
			return rows.length === triggers.length && rows;
		}, 120);
		const at = (uuid) => found.find((row) => row.url.includes(uuid));
		assert.deepEqual(at('555555555501').event_types, ['lead.qualified']);
		assert.equal(at('555555555501').campaign_id, spring.id);
		assert.equal(at('555555555502').person_source, 'trade-fair');
		assert.equal(at('555555555502').source, 'n8n');
		assert.equal(at('555555555506').reward_definition_id, definition('Points'));
	});

	await tests.run('the credential test: ok with the key, not ok with another, not ok elsewhere', async () => {
		const ask = async (data) =>
			(await n8n.rest('POST', '/credentials/test', { credentials: { ...CREDENTIAL, type: 'goodwordApi', data } })).status;
		assert.equal(await ask(credentialRows[0].data), 'OK');
		assert.equal(await ask({ serverUrl: goodword.url, apiKey: 'gw_live_wrong' }), 'Error');
		assert.equal(await ask({ serverUrl: sink.url.replace(/\d+$/, '1'), apiKey: goodword.liveKey }), 'Error');
	});

	await tests.run('n8n knows both nodes, with icons for light and dark', async () => {
		const names = ['goodword', 'goodwordTrigger'];
		const types = await n8n.rest('POST', '/node-types', { nodeInfos: names.map(nodeType) });
		assert.deepEqual(types.map((type) => type.name.split('.').pop()).sort(), names);
		for (const type of types) {
			assert.notEqual(type.iconUrl.light, type.iconUrl.dark);
			for (const icon of Object.values(type.iconUrl)) {
				const file = path.join(n8n.folder, '.n8n/nodes/node_modules', icon.replace(/^icons\//, ''));
				assert.match(fs.readFileSync(file, 'utf8'), /^<svg/);
			}
		}
	});

	await tests.must('260 people wait on the server', async () => {
		for (let index = 0; index < 260; index += 20) {
			await Promise.all(Array.from({ length: 20 }, (_, more) =>
				goodword.post('/v1/referrers', { campaign_id: partners.id, email: `seed-${index + more}@example.com`, source: 'seed' })));
		}
	});

	let run;
	await tests.must('a workflow with every action runs through', async () => {
		const response = await fetch(`${n8n.url}/webhook/every-action`, { method: 'POST' });
		[run] = await until('the execution', async () => {
			const rows = await n8n.executions(ACTIONS);
			return rows.length && rows;
		});
		const { error, lastNodeExecuted } = run.data.resultData;
		assert.equal(run.status, 'success', `${lastNodeExecuted}: ${error?.message} ${error?.description ?? ''}`);
		assert.equal(response.status, 200);
	});
	for (const [node, expect] of steps) {
		const { resource, operation } = node.parameters;
		await tests.run(`${resource}: ${operation} (${node.name})`, () => expect(N8n.items(run, node.name)));
	}

	await tests.run('every operation of the node was among them', async () => {
		const [{ properties }] = await n8n.rest('POST', '/node-types', { nodeInfos: [nodeType('goodword')] });
		const all = properties
			.filter(({ name }) => name === 'operation')
			.flatMap((property) => property.options.map((option) => `${property.displayOptions.show.resource[0]}: ${option.value}`))
			.filter((name) => !name.endsWith('__CUSTOM_API_CALL__'));
		const done = new Set(steps.map(([{ parameters }]) => `${parameters.resource}: ${parameters.operation}`));
		assert.deepEqual(all.filter((name) => !done.has(name)), []);
		assert.ok(all.length >= 33, String(all.length));
	});

	await tests.run('the server has it all, told once', async () => {
		const leads = (await goodword.get(`/v1/leads?campaign_id=${spring.id}&status=qualified&limit=100`)).data;
		assert.deepEqual(leads.map((lead) => lead.email).filter((email) => email.includes('@example.com')).sort(), ['liam@example.com', 'noah@example.com', 'omar@example.com', 'zoe@example.com']);
		const conversions = (await goodword.get('/v1/conversions?limit=100')).data;
		assert.deepEqual(conversions.map((row) => row.external_id).sort(), ['order-1', 'order-2', 'order-3']);
		const events = (await goodword.get('/v1/events?type=lead.qualified&limit=100')).data;
		assert.equal(events.length, 6, 'five leads, one of them twice');
		const [signal] = (await goodword.get('/v1/signals?source=shop')).data;
		assert.equal(signal.kind, 'conversion');
	});

	await tests.run('faults come in the words of the server, and the key stays on this server', async () => {
		const cancelled = (await goodword.get('/v1/rewards?state=cancelled')).data[0].id;
		await fetch(`${n8n.url}/webhook/what-is-wrong`, {
			method: 'POST',
			headers: { 'content-type': 'application/json' },
			body: JSON.stringify({ cancelled }),
		});
		const [execution] = await until('the execution', async () => {
			const rows = await n8n.executions(FAULTS);
			return rows.length && rows;
		});
		for (const [node, words] of faults) {
			const run = execution.data.resultData.runData[node.name]?.[0];
			assert.match(`${node.name}: ${JSON.stringify([run?.error, run?.data?.main])}`, words);
		}
	});

	await tests.run('an AI agent uses it as a tool, by MCP, and the server is changed', async () => {
		const agent = new Agent(`${n8n.url}/mcp/goodword-tools`);
		await agent.ask('initialize', { protocolVersion: '2025-03-26', capabilities: {}, clientInfo: { name: 'e2e', version: '1' } });
		const { tools } = await agent.ask('tools/list', {});
		assert.deepEqual(tools.map((tool) => Object.keys(tool.inputSchema.properties)), [['email', 'code']]);
		const { content } = await agent.ask('tools/call', { name: tools[0].name, arguments: { email: 'agent@example.com', code: 'PRIYA24' } });
		assert.match(content[0].text, /agent@example\.com/);
		const [lead] = (await goodword.get('/v1/leads?email=agent@example.com')).data;
		assert.equal(lead.source, 'n8n');
	});

	await tests.run('lead.qualified started the workflow, which made each one a partner', async () => {
		const added = await until('5 partners', async () => {
			const rows = (await goodword.get(`/v1/referrers?campaign_id=${partners.id}&source=loop`)).data;
			return rows.length === 5 && rows;
		});
		assert.ok(added.some((row) => row.email === 'omar@example.com'));
		const runs = await until('6 executions', async () => {
			const rows = await n8n.executions(LOOP);
			return rows.length === 6 && rows;
		});
		const event = N8n.items(runs[0], 'Qualified')[0];
		assert.deepEqual([event.type, event.test, event.campaign_id], ['lead.qualified', false, spring.id]);
		assert.equal(event.data.lead.referrer.code, 'PRIYA24');
	});

	await tests.run('a trigger with a source hears of people of that source only', async () => {
		const add = (email, source) => goodword.post('/v1/leads', { code: 'PRIYA24', email, source });
		await add('other@example.com', 'elsewhere');
		await add('fair@example.com', 'trade-fair');
		const [execution] = await until('the execution', async () => {
			const rows = (await n8n.executions(FILTERED)).filter((row) => JSON.stringify(row.data).includes('lead.created'));
			return rows.length && rows;
		});
		assert.equal(N8n.items(execution, 'Joined')[0].data.lead.email, 'fair@example.com');
		// A delivery is written with its event, so what was not written will not come.
		const { id } = (await goodword.endpoints()).find((row) => row.person_source === 'trade-fair');
		const told = (await goodword.get(`/v1/endpoints/${id}/deliveries?limit=100`)).data;
		const events = await Promise.all(told.map((row) => goodword.get(`/v1/events/${row.event_id}`)));
		assert.deepEqual([...new Set(events.map((event) => event.data.lead?.source))], ['trade-fair']);
	});

	await tests.run('a trigger with a reward hears of that reward only', async () => {
		const runs = await until('what was issued', async () => {
			const rows = await n8n.executions(REWARD);
			return rows.some((row) => JSON.stringify(row.data).includes('reward.issued')) && rows;
		});
		assert.deepEqual([...new Set(runs.map((row) => N8n.items(row, 'To give')[0].data.reward.name))], ['Points']);
		// The server does not even send the others. Of somebody who was erased there is nothing to see any more.
		const { id } = (await goodword.endpoints()).find((row) => row.reward_definition_id);
		const told = (await goodword.get(`/v1/endpoints/${id}/deliveries?limit=100`)).data;
		const events = await Promise.all(told.map((row) => goodword.get(`/v1/events/${row.event_id}`)));
		assert.deepEqual([...new Set(events.filter(({ data }) => !data.erased).map(({ data }) => data.reward.name))], ['Points']);
	});

	await tests.run('template: a Slack message for every new referral', async () => {
		const message = await until('the message', () => sink.received.find((row) => row.path === '/slack' && row.body.text.includes('fair@example.com')));
		assert.equal(message.body.text, 'fair@example.com has joined “Spring”, referred by Priya Shah-Lee.');
	});

	await tests.run('template: leads into the CRM, new and qualified', async () => {
		await goodword.post('/v1/qualifications', { email: 'fair@example.com', campaign_id: spring.id });
		const told = await until('both messages', () => {
			const rows = sink.received.filter((row) => row.path === '/crm' && row.body.email === 'fair@example.com');
			return rows.length === 2 && rows;
		});
		assert.deepEqual(told.map((row) => row.body.stage), ['pending', 'qualified']);
		assert.equal(told[0].body.key, told[1].body.key);
		assert.equal(told[0].body.referred_by, 'priya@example.com');
	});

	await tests.run('template: a Stripe payment qualifies the lead', async () => {
		await goodword.post('/v1/leads', { code: 'PRIYA24', email: 'stripe@example.com' });
		const charge = { id: 'ch_1', object: 'charge', amount: 5000, currency: 'eur', created: Math.floor(Date.now() / 1000), paid: true, billing_details: { email: 'Stripe@example.com' }, receipt_email: null };
		const event = { id: 'evt_1', object: 'event', type: 'charge.succeeded', data: { object: charge } };
		const send = () => fetch(`${n8n.url}/webhook/stripeTrigger`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(event) });
		const answer = await (await send()).json();
		assert.equal(answer.qualified, true, JSON.stringify(answer));
		await send();
		const conversions = (await goodword.get('/v1/conversions?external_id=ch_1')).data;
		assert.deepEqual(conversions.map((row) => row.amount.amount), ['50.00'], 'told twice, counted once');
	});

	await tests.run('template: a Typeform answer qualifies the lead', async () => {
		await goodword.post('/v1/leads', { code: 'PRIYA24', email: 'form@example.com' });
		const answer = await (await fetch(`${n8n.url}/webhook/typeformTrigger`, {
			method: 'POST',
			headers: { 'content-type': 'application/json' },
			body: JSON.stringify({ form_response: { token: 'tok_1', submitted_at: new Date().toISOString(), definition: { title: 'Demo call' }, answers: { Email: 'form@example.com' } } }),
		})).json();
		assert.deepEqual([answer.qualified, answer.lead?.email], [true, 'form@example.com'], JSON.stringify(answer));
	});

	await tests.run('template: a reward that is issued is thanked for by mail', async () => {
		const reward = (await goodword.get(`/v1/rewards?state=in_review&definition_id=${definition('20 EUR for you')}`)).data[0];
		await goodword.post(`/v1/rewards/${reward.id}/approve`);
		sink.mails.length = 0;
		await goodword.post(`/v1/rewards/${reward.id}/issue`);
		const mail = await until('the mail', () => sink.mails.find((text) => text.includes('20 EUR for you')));
		assert.match(mail, /To: priya@example\.com/);
		assert.match(mail, /20\.00 EUR/);
	});

	await tests.run('a message that the server has not signed is refused with 401 and starts nothing', async () => {
		const { url } = (await goodword.endpoints()).find((row) => row.url.includes('555555555501'));
		const send = (headers) => fetch(url, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: '{"id":"evt_forged","type":"lead.qualified","data":{}}' });
		assert.equal((await send({})).status, 401);
		const now = String(Math.floor(Date.now() / 1000));
		const forged = await send({ 'webhook-id': 'evt_1', 'webhook-timestamp': now, 'webhook-signature': `v1,${Buffer.alloc(32).toString('base64')}` });
		assert.equal(forged.status, 401);
		assert.match((await forged.json()).message, /signature/);
		// What comes after is run, so what came before would have been.
		await goodword.post('/v1/leads', { code: 'PRIYA24', email: 'honest@example.com' });
		await goodword.post('/v1/qualifications', { email: 'honest@example.com', campaign_id: spring.id });
		const runs = await until('the next execution', async () => {
			const rows = JSON.stringify(await n8n.executions(LOOP));
			return rows.includes('honest@example.com') && rows;
		});
		assert.ok(!runs.includes('evt_forged'));
	});

	await tests.run('a test of the endpoint arrives, is answered 200, and starts nothing', async () => {
		for (const { id } of await goodword.endpoints()) {
			const { delivery_id } = await goodword.post(`/v1/endpoints/${id}/test`);
			await until('the test is taken', async () => (await goodword.get(`/v1/deliveries/${delivery_id}`)).state === 'delivered');
		}
		// What comes after is run, so what came before would have been.
		await goodword.post('/v1/leads', { code: 'PRIYA24', email: 'after-the-test@example.com' });
		await until('the next message', () => sink.received.some((row) => row.path === '/slack' && row.body.text.includes('after-the-test@example.com')));
		const runs = await Promise.all(triggers.map((id) => n8n.executions(id)));
		assert.ok(!JSON.stringify(runs).includes('endpoint.tested'));
	});

	await tests.run('drop-downs: campaigns, definitions, sources, people and rewards from the server, with search', async () => {
		const names = (rows) => rows.map((row) => row.name);
		assert.deepEqual(names(await search('goodword', 'getCampaigns', 'campaign', { filter: 'part' })), ['Partners']);
		assert.ok((await search('goodwordTrigger', 'getCampaigns', 'campaign')).length >= 2);
		assert.deepEqual(names(await search('goodword', 'getCampaigns', 'campaign', { filter: 'part', credential: REPORTER })), ['Partners'], 'also for a key that only reports');
		const parameters = { campaign: inSpring };
		assert.deepEqual(names(await search('goodwordTrigger', 'getRewardDefinitions', 'reward', { filter: 'poi', parameters })), ['Points']);
		assert.deepEqual(names(await search('goodword', 'getRewardDefinitions', 'definition', { filter: 'poi', parameters })), ['Points']);
		assert.deepEqual(names(await search('goodwordTrigger', 'getSources', 'source', { filter: 'TRADE' })), ['trade-fair']);
		assert.match(names(await search('goodword', 'getLeads', 'leadId', { filter: 'zoe' }))[0], /zoe@example\.com · Spring/);
		assert.match(names(await search('goodword', 'getReferrers', 'referrerId', { filter: 'priya' }))[0], /Priya Shah-Lee \(priya@example\.com\)/);
		assert.ok(names(await search('goodword', 'getRewards', 'rewardId')).some((name) => name.includes('20 EUR for you · Priya Shah-Lee · issued')));
		const events = await n8n.rest('POST', '/dynamic-node-parameters/options', {
			path: 'parameters.events',
			methodName: 'getEventTypes',
			nodeTypeAndVersion: nodeType('goodwordTrigger'),
			currentNodeParameters: {},
			credentials: { goodwordApi: CREDENTIAL },
		});
		const known = (await goodword.get('/v1/event-types')).data;
		assert.deepEqual(events.map((row) => row.value).sort(), known.map((row) => row.type).sort());
		assert.equal(events.find((row) => row.value === 'lead.created').name, 'New Referral');
	});

	await tests.run('after a restart of n8n the same endpoints are there, and events arrive', async () => {
		const ids = async () => (await goodword.endpoints()).map((row) => row.id).sort();
		const before = await ids();
		await n8n.stop();
		await n8n.start();
		await activeAgain();
		assert.deepEqual(await ids(), before);
		await goodword.post('/v1/leads', { code: 'PRIYA24', email: 'later@example.com' });
		await until('the message', () => sink.received.some((row) => row.path === '/slack' && row.body.text.includes('later@example.com')));
	});

	await tests.run('an endpoint that somebody has deleted on the server is made again', async () => {
		const { id } = (await goodword.endpoints()).find((row) => row.url.includes('555555555502'));
		await goodword.call('DELETE', `/v1/endpoints/${id}`);
		if (n8n.asksAtStart) {
			await n8n.stop();
			await n8n.start();
		} else {
			await n8n.api('POST', `/workflows/${FILTERED}/deactivate`);
			await n8n.api('POST', `/workflows/${FILTERED}/activate`);
		}
		await until('an endpoint for each', async () => (await goodword.endpoints()).length === triggers.length, 60);
		await activeAgain();
	});

	await tests.run('deactivation removes the endpoint, activation makes it again', async () => {
		const has = async () => (await goodword.endpoints()).some((row) => row.url.includes('555555555501'));
		await n8n.api('POST', `/workflows/${LOOP}/deactivate`);
		await until('it is removed', async () => !(await has()));
		await n8n.api('POST', `/workflows/${LOOP}/activate`);
		await until('it is there', has);
		await goodword.post('/v1/qualifications', { email: 'later@example.com', campaign_id: spring.id });
		await until('the partner', async () =>
			(await goodword.get(`/v1/referrers?campaign_id=${partners.id}&email=later@example.com`)).data.length === 1);
	});

	await tests.run('into a private network that is not allowed: activation fails and says why', async () => {
		await n8n.api('POST', `/workflows/${LOOP}/deactivate`);
		await goodword.stop();
		await goodword.start();
		const has = async () => (await goodword.endpoints()).some((row) => row.url.includes('555555555501'));
		// Where activation is asynchronous, the words are in n8n's log.
		const words = await n8n.api('POST', `/workflows/${LOOP}/activate`).then(() => '', (error) => error.message);
		await until(`the words instead of: ${words}`, () => /is this machine itself; an operator can allow it with allow_networks/.test(words + n8n.log));
		assert.equal(await has(), false);
		await goodword.stop();
		await goodword.start(['--allow-networks', '127.0.0.0/8']);
	});

	await tests.run('events go on after a restart of the Goodword server', async () => {
		await goodword.stop();
		await goodword.start(['--allow-networks', '127.0.0.0/8']);
		await goodword.post('/v1/leads', { code: 'PRIYA24', email: 'last@example.com' });
		await until('the message', () => sink.received.some((row) => row.path === '/slack' && row.body.text.includes('last@example.com')), 60);
	});
}

const start = Date.now();
try {
	await allTests();
} catch (error) {
	console.log(error.message);
} finally {
	await Promise.all([n8n.stop(), goodword.stop()]);
	sink.stop();
	if (KEEP || tests.failed) {
		fs.writeFileSync(path.join(folder, 'n8n.log'), n8n.log);
		fs.writeFileSync(path.join(folder, 'goodword.log'), goodword.output);
		console.log(`left in ${folder}`);
	} else fs.rmSync(folder, { recursive: true, force: true });
}
console.log(`${tests.passed} passed, ${tests.failed} failed in ${Math.round((Date.now() - start) / 1000)} s`);
process.exit(tests.failed ? 1 : 0);
