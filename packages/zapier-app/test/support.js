// The two sides of the tests: Zapier's own engine with the integration in it, and the real server
// that ci.sh has started, looked at by its owner.
import assert from 'node:assert/strict';
import http from 'node:http';
import zapier from 'zapier-platform-core';

import App from '../index.js';

const { GOODWORD_URL, GOODWORD_LIVE_KEY } = process.env;

export async function until(what, look) {
	for (const end = Date.now() + 20_000; Date.now() < end; await new Promise((done) => setTimeout(done, 50))) {
		const found = await look();
		if (found) return found;
	}
	throw new Error(`waited in vain: ${what}`);
}

/** Also of connections that somebody keeps alive, or the process would not end. */
export const close = (listener) => {
	listener.close();
	listener.closeAllConnections();
};

/** The server, as its owner sees it. */
export async function server(method, path, body, key = GOODWORD_LIVE_KEY) {
	const response = await fetch(GOODWORD_URL + path, {
		method,
		headers: { 'x-api-key': key, 'content-type': 'application/json' },
		body: body && JSON.stringify(body),
	});
	const text = await response.text();
	if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
	return text && JSON.parse(text);
}

export const list = async (path) => (await server('GET', path)).data;

const engine = zapier.createAppTester(App);

/** What was exercised: "creates.add_user". */
export const exercised = new Set();

/** Every member of a sample is in what really comes out, or a user would choose a field that is never there. */
export function assertHas(sample, real, path = '') {
	for (const [key, value] of Object.entries(sample)) {
		assert.ok(key in real, `the sample has ${path}${key}, and the real one has not`);
		const nested = (it) => it !== null && typeof it === 'object' && !Array.isArray(it);
		if (nested(value) && nested(real[key])) assertHas(value, real[key], `${path}${key}.`);
	}
}

/** Zapier with a connection to the server. */
export class Zapier {
	constructor(key, address = GOODWORD_URL) {
		this.authData = { server_address: address, api_key: key };
	}

	run = (method, bundle = {}) => engine(method, { authData: this.authData, inputData: {}, ...bundle });

	authenticate = () => this.run(App.authentication.test);

	async create(key, inputData) {
		const { perform, sample } = App.creates[key].operation;
		const made = await this.run(perform, { inputData });
		exercised.add(`creates.${key}`);
		assertHas(sample, made);
		return made;
	}

	async search(key, inputData) {
		const { perform, sample } = App.searches[key].operation;
		const found = await this.run(perform, { inputData });
		exercised.add(`searches.${key}`);
		for (const one of found) assertHas(sample, one);
		return found;
	}

	async poll(key, inputData = {}) {
		const { perform, sample } = App.triggers[key].operation;
		const rows = await this.run(perform, { inputData });
		exercised.add(`triggers.${key}`);
		for (const row of rows) assertHas(sample, row);
		return rows;
	}

	recent = (key, inputData = {}) => this.run(App.triggers[key].operation.performList, { inputData });
}

/** A Zap that is turned on: a trigger, and an address like those of hooks.zapier.com. */
export class Zap {
	received = [];
	status = 200;

	constructor(account, key, inputData = {}) {
		Object.assign(this, { account, key, inputData, operation: App.triggers[key].operation });
	}

	async turnOn() {
		this.http = http.createServer(async (request, response) => {
			const chunks = [];
			for await (const chunk of request) chunks.push(chunk);
			this.received.push(this.#asZapierHandsItOn(request, Buffer.concat(chunks).toString()));
			response.writeHead(this.status).end();
		});
		await new Promise((done) => this.http.listen(0, '127.0.0.1', done));
		this.targetUrl = `http://127.0.0.1:${this.http.address().port}/hooks/standard/1/${this.key}/`;
		const { account, inputData, targetUrl } = this;
		this.subscribeData = await account.run(this.operation.performSubscribe, { inputData, targetUrl });
	}

	#asZapierHandsItOn({ method, headers }, content) {
		const title = (name) => name.replace(/\b[a-z]/g, (letter) => letter.toUpperCase());
		const renamed = Object.entries(headers).map(([name, value]) => [(name.startsWith('content-') ? '' : 'Http-') + title(name), value]);
		return { method, querystring: '', headers: Object.fromEntries(renamed), content };
	}

	async perform(rawRequest) {
		const { account, inputData, subscribeData } = this;
		const events = await account.run(this.operation.perform, { inputData, subscribeData, rawRequest, cleanedRequest: JSON.parse(rawRequest.content) });
		exercised.add(`triggers.${this.key}`);
		return events;
	}

	/** The events that have started the Zap, when there are that many. */
	async started(number) {
		let events;
		await until(`${number} events at ${this.key}`, async () => {
			events = (await Promise.all(this.received.map((message) => this.perform(message)))).flat();
			return events.length >= number;
		});
		return events;
	}

	endpoint = () => server('GET', `/v1/endpoints/${this.subscribeData.id}`);

	turnOff = () => this.account.run(this.operation.performUnsubscribe, { subscribeData: this.subscribeData, targetUrl: this.targetUrl });

	close = () => close(this.http);
}
