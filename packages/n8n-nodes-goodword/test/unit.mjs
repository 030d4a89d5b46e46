// What needs no n8n: signatures, the templates, and that what the node sends is what the API
// takes.   GOODWORD=…/goodword node unit.mjs   (after the build)
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHmac } from 'node:crypto';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

import { Tests } from './harness.mjs';

const require = createRequire(import.meta.url);
const here = import.meta.dirname;
const { refusal } = require('../dist/nodes/Goodword/signature.js');
const { Goodword } = require('../dist/nodes/Goodword/Goodword.node.js');
const { NodeHelpers } = require('n8n-workflow');
const { GoodwordTrigger } = require('../dist/nodes/Goodword/GoodwordTrigger.node.js');
const tests = new Tests();

// ---------------------------------------------------------------- signatures

/** The example of the Standard Webhooks specification's libraries. */
const secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
const now = 1614265330;
const message = {
	id: 'msg_p5jXN8AQM9LWM0D4loKWxJek',
	timestamp: String(now),
	signature: 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
	body: Buffer.from('{"test": 2432232314}'),
};

await tests.run("the specification's own example is accepted", () =>
	assert.equal(refusal(secret, message, now), undefined));

await tests.run('one right signature among several is enough: secrets rotate', () => {
	const signature = `v1,${Buffer.alloc(32).toString('base64')} v1a,xyz ${message.signature}`;
	assert.equal(refusal(secret, { ...message, signature }, now), undefined);
});

await tests.run('what was changed, is old, is from the future or is not signed is refused', () => {
	const cases = [
		[{ body: Buffer.from('{"test": 2432232315}') }, /does not match/],
		[{ id: 'msg_other' }, /does not match/],
		[{ signature: message.signature.replace('v1,', 'v2,') }, /does not match/],
		[{ signature: 'v1,' }, /does not match/],
		[{ signature: 'v1' }, /does not match/],
		[{ signature: message.signature.slice(0, -8) }, /does not match/],
		[{ signature: undefined }, /required/],
		[{ id: undefined }, /required/],
		[{ timestamp: ['1', '2'] }, /required/],
		[{ timestamp: 'now' }, /clocks/],
		[{ timestamp: String(now + 1) }, /does not match/],
	];
	for (const [change, words] of cases) {
		assert.match(refusal(secret, { ...message, ...change }, now) ?? 'accepted', words, JSON.stringify(change));
	}
	assert.equal(refusal(secret, message, now + 300), undefined);
	assert.match(refusal(secret, message, now + 301), /clocks/);
	assert.match(refusal(secret, message, now - 301), /clocks/);
	assert.match(refusal(undefined, message, now), /no secret/);
	// An empty key must not be one that anybody can sign with.
	const empty = createHmac('sha256', '').update(`${message.id}.${now}.`).update(message.body).digest('base64');
	assert.match(refusal('', { ...message, signature: `v1,${empty}` }, now), /no secret/);
});

// ---------------------------------------------------------------- the trigger

/** What the trigger makes of an event that the server has signed. */
async function started(events, type) {
	const body = JSON.stringify({ type });
	const id = 'evt_1';
	const timestamp = String(Math.floor(Date.now() / 1000));
	const signature = createHmac('sha256', Buffer.from(secret.slice('whsec_'.length), 'base64')).update(`${id}.${timestamp}.${body}`).digest('base64');
	const answer = await new GoodwordTrigger().webhook.call({
		getWorkflowStaticData: () => ({ secret }),
		getHeaderData: () => ({ 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': `v1,${signature}` }),
		getRequestObject: () => ({ rawBody: Buffer.from(body) }),
		getBodyData: () => JSON.parse(body),
		getNodeParameter: (name) => ({ events })[name],
		helpers: { returnJsonArray: (json) => [{ json }] },
	});
	// n8n answers 200 by itself where the node has not answered.
	assert.equal(answer.noWebhookResponse, undefined);
	return answer.workflowData?.[0].map(({ json }) => json.type);
}

await tests.run('events that were asked for start the workflow, and nothing else does: no test of the endpoint', async () => {
	assert.deepEqual(await started(['lead.created', 'lead.qualified'], 'lead.qualified'), ['lead.qualified']);
	assert.equal(await started(['lead.created'], 'endpoint.tested'), undefined);
	assert.equal(await started(['lead.created'], 'lead.qualified'), undefined);
	assert.deepEqual(await started(['endpoint.tested'], 'endpoint.tested'), ['endpoint.tested']);
});

// ---------------------------------------------------------------- templates

const descriptions = {
	'n8n-nodes-goodword.goodword': new Goodword().description,
	'n8n-nodes-goodword.goodwordTrigger': new GoodwordTrigger().description,
};

/** The properties of a node that its editor would show with these parameters. */
function shown(description, parameters) {
	const values = Object.fromEntries(description.properties.map(({ name, default: value }) => [name, parameters[name] ?? value]));
	return description.properties.filter((property) => NodeHelpers.displayParameter(values, property, null, description));
}

await tests.run('the trigger asks for a reward where all its events are about rewards', () => {
	const asks = (...events) => shown(descriptions['n8n-nodes-goodword.goodwordTrigger'], { events }).some(({ name }) => name === 'reward');
	assert.deepEqual([asks('reward.issued'), asks('reward.issuing', 'reward.failed'), asks('reward.issued', 'lead.created'), asks('lead.created')], [true, true, false, false]);
});

const examples = fs.readdirSync(path.join(here, '../examples'));
for (const name of examples) {
	await tests.run(`template ${name}: its nodes have the parameters that they are given`, () => {
		const workflow = JSON.parse(fs.readFileSync(path.join(here, '../examples', name), 'utf8'));
		const nodes = workflow.nodes.filter(({ type }) => type in descriptions);
		assert.equal(nodes.length, 1);
		for (const { type, parameters } of nodes) {
			const properties = shown(descriptions[type], parameters);
			for (const [key, given] of Object.entries(parameters)) {
				const property = properties.find((each) => each.name === key);
				assert.ok(property, `${key} is not shown`);
				if (property.type === 'options') assert.ok(property.options.some((option) => option.value === given), `${key}: ${given}`);
				if (property.type === 'collection') {
					const known = property.options.map((option) => option.name);
					assert.deepEqual(Object.keys(given).filter((inner) => !known.includes(inner)), []);
				}
			}
		}
		assert.ok(!JSON.stringify(workflow).includes('"credentials"'), 'a template names no credentials');
	});
}

// ---------------------------------------------------------------- the API

const openapi = JSON.parse(execFileSync(process.env.GOODWORD, ['openapi'], { maxBuffer: 64 << 20 }));
const resolve = (schema) => (schema?.$ref ? resolve(openapi.components.schemas[schema.$ref.split('/').pop()]) : (schema ?? {}));
const members = (schema) => {
	const { properties = {}, allOf = [] } = resolve(schema);
	return [...Object.keys(properties), ...allOf.flatMap(members)];
};

/** What a property, with all that is in it, sends. */
function* sent(property, operation) {
	const { send, request } = property.routing ?? {};
	if (send?.property !== undefined) yield { kind: send.type, name: send.property };
	for (const name of Object.keys(request?.body ?? {})) yield { kind: 'body', name };
	if (property.type === 'collection') for (const inner of property.options) yield* sent(inner, operation);
}

const { properties } = descriptions['n8n-nodes-goodword.goodword'];
const operations = properties.filter(({ name }) => name === 'operation');
for (const { displayOptions, options } of operations) {
	const [resource] = displayOptions.show.resource;
	if (resource === 'apiCall') continue;
	await tests.run(`${resource}: every field of every operation is one that the API takes`, () => {
		for (const option of options) {
			const { method, url } = option.routing.request;
			const address = url.replace(/^=/, '').replace(/\{\{.*?\}\}/g, '{id}');
			const operation = openapi.paths[address]?.[method.toLowerCase()];
			assert.ok(operation, `${method} ${address} is not in the API`);
			const taken = {
				body: members(operation.requestBody?.content['application/json'].schema),
				query: (operation.parameters ?? []).filter((each) => each.in === 'query').map((each) => each.name),
			};
			const here = properties.filter(({ displayOptions: { show } = {} }) =>
				show?.resource?.includes(resource) && show.operation?.includes(option.value));
			for (const property of [option, ...here]) {
				for (const { kind, name } of sent(property)) {
					if (name.startsWith('=')) continue;
					assert.ok(taken[kind].includes(name), `${option.value}: ${kind} ${name}; the API takes ${taken[kind]}`);
				}
			}
		}
	});
}

await tests.run('drop-downs and trigger ask what the API has', () => {
	for (const address of ['/v1/me', '/v1/event-types', '/v1/campaigns/names', '/v1/statistics/series', '/v1/reward-definitions', '/v1/endpoints/{id}']) {
		assert.ok(openapi.paths[address]?.get, address);
	}
	const taken = members(openapi.paths['/v1/endpoints'].post.requestBody.content['application/json'].schema);
	for (const name of ['url', 'event_types', 'campaign_id', 'person_source', 'reward_definition_id', 'source', 'description']) assert.ok(taken.includes(name), name);
});

// ---------------------------------------------------------------- the trigger's endpoint

await tests.run('the endpoint is known again whatever spaces are between the sources', async () => {
	const url = 'https://n8n.example/webhook';
	const found = { status: 'active', campaign_id: null, person_source: 'form,trade-fair', reward_definition_id: null, event_types: ['lead.created'] };
	const exists = (source) =>
		new GoodwordTrigger().webhookMethods.default.checkExists.call({
			getWorkflowStaticData: () => ({ endpointId: 'ep_1', secret, url }),
			getNode: () => ({ parameters: { source } }),
			getNodeParameter: (name) => ({ events: ['lead.created'], source })[name],
			getNodeWebhookUrl: () => url,
			getCredentials: () => ({ serverUrl: 'https://goodword.example' }),
			helpers: { httpRequestWithAuthentication: () => ({ statusCode: 200, body: found }) },
		});
	assert.equal(await exists(' form , trade-fair'), true);
	assert.equal(await exists('form,trade-fair'), true);
	assert.equal(await exists('form'), false);
	assert.equal(await exists(''), false);
});

console.log(`${tests.passed} passed, ${tests.failed} failed`);
process.exit(tests.failed ? 1 : 0);
