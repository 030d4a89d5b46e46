// Each receiver of the guide, as it is printed there, with only what its framework wants around it.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { test } from 'node:test';

const { GOODWORD_URL, GOODWORD_LIVE_KEY, SCRATCH } = process.env;
const here = import.meta.dirname;
const guide = fs.readFileSync(path.join(here, '../../docs/webhooks.md'), 'utf8').match(/^## Verify$.*?^## /ms)[0];

const LANGUAGES = {
	js: {
		around: (code) => `import express from 'express';\nconst app = express();\n${code}\napp.listen(process.env.PORT, '127.0.0.1');`,
		// Beside node_modules, for its imports.
		file: path.join(here, 'node_modules/receiver.mjs'),
		run: (file) => ['node', file],
	},
	python: {
		around: (code) => `import os\nfrom flask import Flask, request\napp = Flask(__name__)\n${code}\napp.run(port=int(os.environ["PORT"]))`,
		run: (file) => ['python', '-u', file],
	},
	php: { around: (code) => `<?php\n${code}`, run: (file, port) => ['php', '-S', `127.0.0.1:${port}`, file] },
	ruby: {
		around: (code) => `$stdout.sync = true\nrequire "sinatra"\nrequire "openssl"\nrequire "json"\nset :bind, "127.0.0.1"\nset :port, ENV["PORT"]\n${code}`,
		run: (file) => ['ruby', file, '-s', 'webrick'],
	},
	go: {
		around: (code) => {
			const known = { hmac: 'crypto/hmac', sha256: 'crypto/sha256', base64: 'encoding/base64', json: 'encoding/json', http: 'net/http' };
			const used = new Set([...code.matchAll(/\b(fmt|hmac|sha256|base64|json|http|io|log|os|strconv|strings|time)\./g)].map(([, name]) => known[name] ?? name));
			const imports = [...used].map((name) => `"${name}"`).join('; ');
			return `package main\nimport (${imports})\nfunc main() {\n${code}\nlog.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))\n}`;
		},
		run: (file) => ['go', 'run', file],
	},
};

test('the guide shows five languages', () => {
	assert.deepEqual([...guide.matchAll(/^```(\w+)$/gm)].map(([, language]) => language), Object.keys(LANGUAGES));
});

const call = async (method, address, body) => {
	const headers = { 'x-api-key': GOODWORD_LIVE_KEY, 'content-type': 'application/json' };
	const response = await fetch(GOODWORD_URL + address, { method, headers, body: body && JSON.stringify(body) });
	const text = await response.text();
	assert.ok(response.ok, `${method} ${address}: ${response.status} ${text}`);
	return text && JSON.parse(text);
};

const freePort = async () => {
	const server = net.createServer().listen(0, '127.0.0.1');
	await once(server, 'listening');
	const { port } = server.address();
	server.close();
	await once(server, 'close');
	return port;
};

async function until(what, look, seconds = 60) {
	for (const end = Date.now() + seconds * 1000; Date.now() < end; await new Promise((done) => setTimeout(done, 50))) {
		const found = await look();
		if (found) return found;
	}
	throw new Error(`waited ${seconds} s in vain: ${what()}`);
}

for (const [language, { around, run, file = path.join(SCRATCH, `receiver.${language}`) }] of Object.entries(LANGUAGES)) {
	test(`${language} takes what is signed and refuses what is not`, async (t) => {
		const port = await freePort();
		const url = `http://127.0.0.1:${port}/webhooks/goodword`;
		const { id, secret } = await call('POST', '/v1/endpoints', { url, event_types: ['endpoint.tested'] });

		fs.writeFileSync(file, around(guide.match(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'ms'))[1]));
		const [program, ...args] = run(file, port);
		// A group of its own: `go run` leaves its child otherwise.
		const receiver = spawn(program, args, { detached: true, env: { ...process.env, GOODWORD_SECRET: secret, PORT: port, APP_ENV: 'production' } });
		let said = '';
		for (const stream of [receiver.stdout, receiver.stderr]) stream.on('data', (chunk) => (said += chunk));
		t.after(() => process.kill(-receiver.pid));
		await until(() => said, () => fetch(url, { method: 'POST' }).then(() => true, () => false));

		await call('POST', `/v1/endpoints/${id}/test`);
		const delivery = await until(() => said, async () => (await call('GET', `/v1/endpoints/${id}/deliveries`)).data.find((row) => row.state !== 'due' && row.state !== 'delivering'));
		assert.equal(delivery.state, 'delivered', said);
		await until(() => said, () => said.includes('endpoint.tested'));

		const body = '{"id":"evt_1","type":"lead.qualified","data":{}}';
		const now = Math.floor(Date.now() / 1000);
		const sign = (at, key = secret) => `v1,${createHmac('sha256', Buffer.from(key.replace('whsec_', ''), 'base64')).update(`evt_1.${at}.${body}`).digest('base64')}`;
		const send = async (signature, sent = body, at = now) => {
			const headers = { 'content-type': 'application/json', 'webhook-id': 'evt_1', 'webhook-timestamp': String(at), ...(signature && { 'webhook-signature': signature }) };
			return (await fetch(url, { method: 'POST', headers, body: sent })).status;
		};
		const foreign = sign(now, 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw');
		assert.equal(await send(sign(now)), 204, said);
		assert.equal(await send(`${foreign} ${sign(now)}`), 204, 'one of two, while the secret changes');
		assert.equal(await send(foreign), 401, 'signed with another secret');
		assert.equal(await send(undefined), 401, 'not signed at all');
		assert.equal(await send(sign(now), body.replace('evt_1', 'evt_2')), 401, 'another body');
		assert.equal(await send(sign(now - 600), body, now - 600), 401, 'ten minutes old');
		assert.equal(await send(sign(now), body, now - 10), 401, 'another time');
	});
}
