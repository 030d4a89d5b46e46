// Everything that an assistant can do, with the official client library, on both transports.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { after, before, describe, test } from 'node:test';

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { Ajv2020 } from 'ajv/dist/2020.js';

import { GOODWORD, Server } from './server.mjs';

const server = new Server();
const euros = (amount) => ({ amount, currency: 'EUR' });
const thanks = (terms) => ({ name: 'Thank you', beneficiary: 'referrer', value: { type: 'fixed', amount: euros('20.00') }, ...terms });

before(async () => {
	await server.start();
});
after(() => server.end());

/** A campaign, and a lead of Priya's in it. */
async function program(name, settings) {
	const campaign = await server.post('/v1/campaigns', { name, status: 'live', ...settings });
	const priya = await server.post('/v1/referrers', { campaign_id: campaign.id, email: 'priya@example.com', first_name: 'Priya' });
	const { lead } = await server.post('/v1/leads', { code: priya.code, email: 'maya@example.com', first_name: 'Maya' });
	return { campaign, lead, told: { email: 'maya@example.com', campaign_id: campaign.id, amount: '60.00', currency: 'EUR' } };
}

const transports = {
	http: (key, headers = {}) =>
		new StreamableHTTPClientTransport(new URL('/mcp', server.url), { requestInit: { headers: { authorization: `Bearer ${key}`, ...headers } } }),
	stdio: (key) =>
		new StdioClientTransport({ command: GOODWORD, args: ['mcp'], env: { GOODWORD_URL: server.url, GOODWORD_API_KEY: key }, stderr: 'ignore' }),
};

for (const [kind, transport] of Object.entries(transports)) {
	describe(`by ${kind}`, () => {
		const clients = [];
		const used = new Set();
		let client;

		const connect = async (key) => {
			const made = new Client({ name: 'test', version: '1' });
			clients.push(made);
			await made.connect(transport(key));
			return made;
		};
		const ask = (name, args = {}, by = client) => {
			used.add(name);
			return by.callTool({ name, arguments: args });
		};
		/** What a tool gives. */
		const call = async (name, args, by) => {
			const { isError, structuredContent, content } = await ask(name, args, by);
			assert.ok(!isError, content[0].text);
			assert.deepEqual(JSON.parse(content[0].text), structuredContent);
			return structuredContent;
		};
		/** A tool says what is wrong, in words. */
		const refused = async (words, name, args, by) => {
			const { isError, structuredContent, content } = await ask(name, args, by);
			assert.ok(isError && structuredContent === undefined, JSON.stringify(structuredContent));
			assert.match(content[0].text, words);
			assert.match(content[0].text, /^[A-Z/].*\.$/, 'sentences');
		};

		before(async () => {
			client = await connect(server.key);
		});
		after(() => Promise.all(clients.map((each) => each.close())));

		test('it introduces itself', () => {
			assert.deepEqual(client.getServerVersion(), { name: 'goodword', title: 'Goodword', version: client.getServerVersion().version });
			assert.deepEqual(client.getServerCapabilities(), { tools: { listChanged: false } });
			assert.match(client.getInstructions(), /explain_lead/);
			return client.ping();
		});

		test('its tools are well described, and their schemas are valid', async () => {
			const { tools } = await client.listTools();
			const ajv = new Ajv2020({ strict: true, strictTypes: false });
			for (const { name, description, inputSchema, annotations } of tools) {
				assert.match(name, /^[a-z_]+$/);
				assert.ok(description.length > 40, name);
				assert.ok(ajv.validateSchema(inputSchema), ajv.errorsText());
				ajv.compile(inputSchema);
				for (const [field, schema] of Object.entries(inputSchema.properties)) assert.ok(schema.description || schema.enum, `${name}: ${field}`);
				assert.equal(annotations.destructiveHint, name === 'confirm', name);
			}
		});

		test('it finds and explains people, and counts', async () => {
			const { campaign } = await program(`Looking by ${kind}`, { rule: { minimum_spend: euros('50.00') }, rewards: [thanks({ review: 'always' })] });
			const { campaigns } = await call('list_campaigns');
			assert.ok(campaigns.some(({ id, status }) => id === campaign.id && status === 'live'));
			const { leads } = await call('find_people', { search: 'maya@', campaign_id: campaign.id });
			assert.deepEqual(leads.map(({ email }) => email), ['maya@example.com']);
			const small = await call('record_conversion', { email: 'maya@example.com', campaign_id: campaign.id, external_id: `small-${kind}`, amount: '46.00', currency: 'EUR' });
			assert.deepEqual([small.qualified, small.rewards, small.token], [false, [], undefined], 'it brings about no reward, so it is done at once');
			const { verdict } = await call('explain_lead', { lead_id: leads[0].id });
			assert.match(verdict, /4\.00 EUR/);
			const funnel = await call('statistics', { campaign_id: campaign.id });
			assert.deepEqual([funnel.leads, funnel.qualified], [1, 0]);
			const { groups } = await call('statistics', { campaign_id: campaign.id, by: 'source' });
			assert.equal(groups.reduce((sum, { leads }) => sum + leads, 0), 1);
		});

		test('a conversion that brings a reward about: stated, agreed to, done once', async () => {
			const { campaign, told } = await program(`Buying by ${kind}`, { rewards: [thanks({ review: 'never', auto_issue: true })] });
			const order = { ...told, external_id: `order-${kind}` };
			const rewards = async () => (await server.get(`/v1/rewards?campaign_id=${campaign.id}`)).data;
			const stated = await call('record_conversion', order);
			assert.equal(stated.done, false);
			assert.match(stated.effect, /20\.00 EUR for Priya.*<priya@example\.com>.*issued/);
			assert.deepEqual(await rewards(), []);

			await refused(/The token is not valid/, 'confirm', { token: `x${stated.token}` });
			await refused(/The token is not valid/, 'confirm', { token: stated.token }, await connect(await server.keyFor('write')));
			assert.deepEqual(await rewards(), []);

			const done = await call('confirm', { token: stated.token });
			assert.deepEqual([done.qualified, done.rewards.map(({ state }) => state)], [true, ['issued']]);
			await refused(/^Nothing was done/, 'confirm', { token: stated.token });
			assert.equal((await call('record_conversion', order)).repeated, true);
			assert.deepEqual((await rewards()).map(({ state }) => state), ['issued']);
		});

		test('the review queue, and an action on a reward: stated for one state, done once', async () => {
			const { campaign, told } = await program(`Review by ${kind}`, { rewards: [thanks({ review: 'always' })] });
			await server.post('/v1/conversions', { ...told, external_id: `review-${kind}` });
			const { in_review: queue } = await call('review_queue', { campaign_id: campaign.id });
			assert.equal(queue.length, 1);
			const { id, actions } = queue[0].reward;
			assert.ok(actions.includes('approve'));
			const state = async () => (await server.get(`/v1/rewards/${id}`)).state;

			const approve = { reward_id: id, action: 'approve', note: 'looks fine' };
			const old = await call('preview_reward_action', approve);
			assert.match(old.effect, /20\.00 EUR for Priya.* goes from in review to approved\./);
			assert.equal(await state(), 'in_review');
			await server.post(`/v1/rewards/${id}/hold`);
			await refused(/^Nothing was done/, 'confirm', { token: old.token });
			assert.equal(await state(), 'on_hold');

			const { token } = await call('preview_reward_action', approve);
			assert.equal((await call('confirm', { token })).state, 'approved');
			await refused(/already|Nothing was done/, 'confirm', { token });
			await refused(/already/, 'preview_reward_action', approve);
			const { token: issue } = await call('preview_reward_action', { reward_id: id, action: 'issue' });
			assert.equal((await call('confirm', { token: issue })).state, 'issued');
			await refused(/possible now: reverse/, 'preview_reward_action', { reward_id: id, action: 'reject' });
		});

		test('a key does what its scopes allow', async () => {
			const names = async (by) => (await by.listTools()).tools.map(({ name }) => name);
			const looking = ['list_campaigns', 'find_people', 'explain_lead', 'statistics', 'review_queue'];
			const reader = await connect(await server.keyFor('read'));
			assert.deepEqual(await names(reader), looking);
			assert.deepEqual(await names(await connect(await server.keyFor('read', 'report'))), [...looking, 'record_conversion', 'confirm']);
			assert.deepEqual(await names(await connect(await server.keyFor('rewards'))), [...looking, 'preview_reward_action', 'confirm']);
			await refused(/lacks the scope report.*Use a key that has it/, 'record_conversion', { email: 'maya@example.com', external_id: '1' }, reader);
			await refused(/lacks the scope rewards/, 'preview_reward_action', { reward_id: 'rwd_01m7wxa1fhf0fsz2z7nzgde70t', action: 'approve' }, reader);
			const { campaigns } = await call('list_campaigns', {}, await connect(server.testKey));
			assert.deepEqual(campaigns, [], 'the other side');
		});

		test('what is wrong is said in words', async () => {
			await refused(/^\/search: this field is required\.$/, 'find_people');
			await refused(/^\/by: expected one of day, week, month/, 'statistics', { by: 'hour' });
			await refused(/^There is no such lead\.$/, 'explain_lead', { lead_id: 'lead_01m7wxa1fhf0fsz2z7nzgde70t' });
			await refused(/^\/currency: expected the currency of the amount/, 'record_conversion', { email: 'maya@example.com', external_id: '1', amount: '5' });
			await assert.rejects(client.callTool({ name: 'no_such_tool' }), /There is no tool "no_such_tool"\./);
			await assert.rejects(client.listResources(), /resources/);
			await assert.rejects(connect('gw_live_wrong'), /unknown or revoked/);
		});

		test('every tool was called', async () => {
			const { tools } = await client.listTools();
			assert.deepEqual(tools.map(({ name }) => name).filter((name) => !used.has(name)), []);
		});
	});
}

test('a page of another site may not speak by HTTP, one of this may', async () => {
	const from = (origin) => new Client({ name: 'page', version: '1' }).connect(transports.http(server.key, { origin }));
	await assert.rejects(from('https://evil.example'), /403|Origin/);
	await from(server.url);
});

describe('goodword mcp', () => {
	const env = (key) => ({ PATH: process.env.PATH, GOODWORD_URL: server.url, ...(key ? { GOODWORD_API_KEY: key } : {}) });

	test('writes nothing but answers to standard output, one on a line', async () => {
		const child = spawn(GOODWORD, ['mcp'], { env: env(server.key) });
		const lines = ['not JSON', '', '{"jsonrpc":"2.0","method":"notifications/initialized"}', '[]', '{"jsonrpc":"2.0","id":1,"method":"ping"}', '{"jsonrpc":"2.0","id":"two","method":"tools/list"}'];
		child.stdin.end(lines.join('\n'));
		const [out, code] = await Promise.all([text(child.stdout), new Promise((done) => child.on('exit', done))]);
		assert.equal(code, 0);
		const answers = out.trimEnd().split('\n').map((line) => JSON.parse(line));
		assert.deepEqual(answers.map(({ jsonrpc, id, error }) => [jsonrpc, id, error?.code]), [
			['2.0', null, -32700],
			['2.0', null, -32600],
			['2.0', 1, undefined],
			['2.0', 'two', undefined],
		]);
	});

	test('wants a key', () => {
		const { status, stdout, stderr } = spawnSync(GOODWORD, ['mcp'], { env: env(), encoding: 'utf8' });
		assert.deepEqual([status, stdout], [1, '']);
		assert.match(stderr, /GOODWORD_API_KEY/);
	});

	test('says that the server is away, and goes on when it is back', async () => {
		const client = new Client({ name: 'test', version: '1' });
		await client.connect(transports.stdio(server.key));
		await server.stop();
		await assert.rejects(client.listTools(), /cannot be reached/);
		await server.start();
		assert.ok((await client.listTools()).tools.length > 0);
		await client.close();
	});
});

async function text(stream) {
	let all = '';
	for await (const chunk of stream.setEncoding('utf8')) all += chunk;
	return all;
}
